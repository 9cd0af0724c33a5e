package model

import "math"

// CreatinineUnit turns µmol/L of creatinine into mg/dL.
const CreatinineUnit = 1 / 88.4

// FiltrationRate is the estimated glomerular filtration rate by the CKD-EPI 2021
// creatinine equation (Inker 2021, NEJM 385:1737), in mL/min/{1.73_m2}.
// Creatinine is in mg/dL, age in years; the equation is for adults.
func FiltrationRate(creatinine, age float64, female bool) float64 {
	kappa, alpha, factor := 0.9, -0.302, 142.0
	if female {
		kappa, alpha, factor = 0.7, -0.241, 142*1.012
	}
	ratio := creatinine / kappa
	return factor * math.Pow(min(ratio, 1), alpha) * math.Pow(max(ratio, 1), -1.2) * math.Pow(0.9938, age)
}
