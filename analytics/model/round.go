package model

import (
	"strconv"
	"strings"
)

// Percent is a probability as the text of a percentage with one digit, half
// rounded up: 0.1465 is "14.7". The decision is made on the shortest decimal
// that names the float, so that 0.1465 does not fall down because the nearest
// float lies below it.
func Percent(probability float64) string {
	text := strconv.FormatFloat(probability, 'f', -1, 64)
	whole, fraction, _ := strings.Cut(text, ".")
	fraction += "0000"
	thousandths, err := strconv.Atoi(whole + fraction[:3])
	if err != nil { // NaN and infinities are no probabilities
		return ""
	}
	if fraction[3] >= '5' {
		thousandths++
	}
	return strconv.Itoa(thousandths/10) + "." + strconv.Itoa(thousandths%10)
}
