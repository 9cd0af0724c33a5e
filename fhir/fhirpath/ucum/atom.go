package ucum

import "strings"

// atoms lists the units: code, metric (takes prefixes) or not, factor, and the
// unit it is a factor of. A unit of itself is a base unit. Factors are those of
// UCUM 2.1, exact where UCUM is.
const atoms = `
m metric 1 m
s metric 1 s
g metric 1 g
rad metric 1 rad
K metric 1 K
C metric 1 C
cd metric 1 cd
10* - 10 1
10^ - 10 1
% - 0.01 1
[ppth] - 0.001 1
[ppm] - 0.000001 1
[ppb] - 0.000000001 1
[pptr] - 0.000000000001 1
[pi] - 3.1415926535897932384626433832795028841971693993751058209749445923 1
mol metric 602213670000000000000000 1
eq metric 1 mol
osm metric 1 mol
sr metric 1 rad2
Hz metric 1 s-1
N metric 1 kg.m/s2
Pa metric 1 N/m2
J metric 1 N.m
W metric 1 J/s
A metric 1 C/s
V metric 1 J/C
F metric 1 C/V
Ohm metric 1 V/A
S metric 1 Ohm-1
Wb metric 1 V.s
T metric 1 Wb/m2
H metric 1 Wb/A
lm metric 1 cd.sr
lx metric 1 lm/m2
Bq metric 1 s-1
Gy metric 1 J/kg
Sv metric 1 J/kg
kat metric 1 mol/s
U metric 1 umol/min
l metric 1 dm3
L metric 1 l
ar metric 100 m2
har - 100 ar
t metric 1000 kg
bar metric 100000 Pa
atm - 101325 Pa
dyn metric 1 g.cm/s2
erg metric 1 dyn.cm
P metric 1 dyn.s/cm2
St metric 1 cm2/s
Ci metric 37000000000 Bq
R metric 0.000258 C/kg
RAD metric 100 erg/g
REM metric 1 RAD
u metric 0.0000000000000000000000016605402 g
eV metric 0.000000000000000000160217733 J
cal metric 4.184 J
cal_th metric 4.184 J
cal_IT metric 4.1868 J
[Cal] - 1 kcal_th
min - 60 s
h - 60 min
d - 24 h
wk - 7 d
a_j - 365.25 d
a - 1 a_j
a_t - 365.24219 d
a_g - 365.2425 d
mo_j - 30.4375 d
mo - 1 mo_j
mo_s - 29.53059 d
mo_g - 30.436875 d
deg - 2 [pi].rad/360
' - 1 deg/60
'' - 1 '/60
gon metric 0.9 deg
m[H2O] metric 9806.65 Pa
m[Hg] metric 133322 Pa
[in_i'H2O] - 1 m[H2O].[in_i]/m
[in_i'Hg] - 1 m[Hg].[in_i]/m
[in_i] - 2.54 cm
[ft_i] - 12 [in_i]
[yd_i] - 3 [ft_i]
[mi_i] - 5280 [ft_i]
[nmi_i] - 1852 m
[kn_i] - 1 [nmi_i]/h
[sin_i] - 1 [in_i]2
[sft_i] - 1 [ft_i]2
[cin_i] - 1 [in_i]3
[cft_i] - 1 [ft_i]3
[lb_av] - 7000 [gr]
[oz_av] - 1 [lb_av]/16
[dr_av] - 1 [oz_av]/16
[stone_av] - 14 [lb_av]
[ston_av] - 2000 [lb_av]
[lcwt_av] - 112 [lb_av]
[gr] - 64.79891 mg
[lbf_av] - 9.80665 [lb_av].m/s2
[psi] - 1 [lbf_av]/[sin_i]
[gal_us] - 231 [cin_i]
[qt_us] - 1 [gal_us]/4
[pt_us] - 1 [qt_us]/2
[cup_us] - 16 [tbs_us]
[foz_us] - 1 [pt_us]/16
[tbs_us] - 1 [foz_us]/2
[tsp_us] - 1 [tbs_us]/3
[drp] - 1 ml/20
[car_m] - 0.2 g
g% metric 1 g/dl
[diop] - 1 m-1
[MET] - 3.5 mL/min/kg
[degRe] - 1 [degRe]
[degF] - 1 [degF]
[degR] - 0.55555555555555555555555555555555555555555555555556 K
Cel metric 1 Cel
[pH] - 1 [pH]
B metric 1 B
Np metric 1 Np
[IU] metric 1 [iU]
[iU] metric 1 [iU]
[arb'U] - 1 [arb'U]
[USP'U] - 1 [USP'U]
[GPL'U] - 1 [GPL'U]
[MPL'U] - 1 [MPL'U]
[APL'U] - 1 [APL'U]
[beth'U] - 1 [beth'U]
[anti'Xa'U] - 1 [anti'Xa'U]
[todd'U] - 1 [todd'U]
[dye'U] - 1 [dye'U]
[Amb'a'1'U] - 1 [Amb'a'1'U]
[CFU] - 1 [CFU]
[PFU] - 1 [PFU]
[FFU] - 1 [FFU]
[CCID_50] - 1 [CCID_50]
[TCID_50] - 1 [TCID_50]
[EID_50] - 1 [EID_50]
[D'ag'U] - 1 [D'ag'U]
[Lf] - 1 [Lf]
[LPF] - 100 1
[HPF] - 1 1
bit metric 1 1
By metric 8 bit
Bd metric 1 s-1
`

// atom finds a unit without prefix.
func atom(code string) (u Unit, metric, ok bool) {
	if strings.ContainsAny(code, " \n") {
		return Unit{}, false, false
	}
	_, line, found := strings.Cut(atoms, "\n"+code+" ")
	if !found {
		return Unit{}, false, false
	}
	line, _, _ = strings.Cut(line, "\n")
	kind, rest, _ := strings.Cut(line, " ")
	factor, of, _ := strings.Cut(rest, " ")
	u = number(factor)
	if of == code {
		u.base = map[string]int{code: 1}
		return u, kind == "metric", true
	}
	whole, ok := Parse(of)
	return u.Mul(whole), kind == "metric", ok
}
