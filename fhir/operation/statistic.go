package operation

import (
	"math"
	"math/big"
	"slices"
	"strings"
	"time"

	"candela/fhir"
)

// statisticSystem is the code system of statistics (R4 observation-statistics).
const statisticSystem = "http://terminology.hl7.org/CodeSystem/observation-statistics"

// point is one measured value.
type point struct {
	decimal fhir.Decimal
	value   *big.Rat
	when    time.Time
}

// sample is measured values in ascending order, as exact fractions.
type sample struct {
	points []point
	scale  int // digits behind the point of the most precise value
	sum    *big.Rat
	mean   *big.Rat
}

// statistics are the codes that a sample can answer, with how. Percentiles are
// interpolated linearly between the closest ranks (h = (n-1)p, as spreadsheets
// do); standard deviation and variance are those of a sample (n-1); skewness and
// kurtosis are g1 and g2 of the moments; the regression is the slope per day.
func statistics() map[string]func(sample) (string, bool) {
	at := func(p, of int64) func(sample) (string, bool) {
		return func(s sample) (string, bool) { return s.text(s.quantile(p, of)), true }
	}
	return map[string]func(sample) (string, bool){
		"count": nil, "total-count": nil,
		"average": func(s sample) (string, bool) { return s.text(s.mean), true },
		"maximum": func(s sample) (string, bool) { return s.points[len(s.points)-1].decimal.String(), true },
		"minimum": func(s sample) (string, bool) { return s.points[0].decimal.String(), true },
		"sum":     func(s sample) (string, bool) { return s.text(s.sum), true },
		"median":  at(1, 2),
		"std-dev": func(s sample) (string, bool) { return s.deviation() }, "variance": sample.variance,
		"20-percent": at(1, 5), "80-percent": at(4, 5),
		"4-lower": at(1, 4), "4-upper": at(3, 4), "4-dev": sample.quartileDeviation,
		"5-1": at(1, 5), "5-2": at(2, 5), "5-3": at(3, 5), "5-4": at(4, 5),
		"skew": sample.skew, "kurtosis": sample.kurtosis, "regression": sample.regression,
	}
}

func checkStatistics(wanted []string) error {
	known := statistics()
	if len(wanted) == 0 {
		return fhir.Errorf(400, fhir.CodeRequired, "$stats needs at least one statistic, such as average")
	}
	for _, name := range wanted {
		if _, ok := known[name]; !ok {
			return invalid("statistic", "codes of %s, such as average, maximum, median or std-dev", statisticSystem)
		}
	}
	return nil
}

func newSample(points []point) sample {
	s := sample{points: slices.Clone(points), sum: new(big.Rat)}
	slices.SortFunc(s.points, func(a, b point) int { return a.value.Cmp(b.value) })
	for _, p := range s.points {
		s.sum.Add(s.sum, p.value)
		_, fraction, _ := strings.Cut(p.decimal.String(), ".")
		s.scale = max(s.scale, len(fraction))
	}
	if n := int64(len(points)); n > 0 {
		s.mean = new(big.Rat).Quo(s.sum, big.NewRat(n, 1))
	}
	return s
}

// statistic is the value of a code as a JSON number; ok is false where the
// sample is too small for it.
func (s sample) statistic(name string) (text string, ok bool) {
	f := statistics()[name]
	if f == nil || len(s.points) == 0 {
		return "", false
	}
	return f(s)
}

// text is a fraction as a decimal: exact where it ends, else rounded three
// digits behind the most precise value.
func (s sample) text(r *big.Rat) string {
	out := r.FloatString(s.scale + 3)
	for range 3 {
		out = strings.TrimSuffix(out, "0")
	}
	return strings.TrimSuffix(out, ".")
}

func (s sample) float(f float64) (string, bool) {
	r := new(big.Rat).SetFloat64(f)
	if r == nil {
		return "", false
	}
	return s.text(r), true
}

// quantile is the value below which p/of of the sample lies.
func (s sample) quantile(p, of int64) *big.Rat {
	at := big.NewRat(int64(len(s.points)-1)*p, of)
	i := int(new(big.Int).Quo(at.Num(), at.Denom()).Int64())
	if i+1 >= len(s.points) {
		return s.points[i].value
	}
	part := at.Sub(at, big.NewRat(int64(i), 1))
	step := new(big.Rat).Sub(s.points[i+1].value, s.points[i].value)
	return step.Add(step.Mul(step, part), s.points[i].value)
}

func (s sample) quartileDeviation() (string, bool) {
	d := new(big.Rat).Sub(s.quantile(3, 4), s.quantile(1, 4))
	return s.text(d.Mul(d, big.NewRat(1, 2))), true
}

// squares is the sum of the squared distances from the mean.
func (s sample) squares() *big.Rat {
	total := new(big.Rat)
	for _, p := range s.points {
		d := new(big.Rat).Sub(p.value, s.mean)
		total.Add(total, d.Mul(d, d))
	}
	return total
}

func (s sample) spread() (*big.Rat, bool) {
	n := int64(len(s.points))
	if n < 2 {
		return nil, false
	}
	return new(big.Rat).Quo(s.squares(), big.NewRat(n-1, 1)), true
}

func (s sample) variance() (string, bool) {
	v, ok := s.spread()
	if !ok {
		return "", false
	}
	return s.text(v), true
}

func (s sample) deviation() (string, bool) {
	v, ok := s.spread()
	if !ok {
		return "", false
	}
	root := new(big.Float).SetPrec(256).SetRat(v)
	exact, _ := root.Sqrt(root).Rat(nil)
	return s.text(exact), true
}

// moment is the mean of the k-th powers of the distances from the mean.
func (s sample) moment(k float64) float64 {
	mean, _ := s.mean.Float64()
	total := 0.0
	for _, p := range s.points {
		v, _ := p.value.Float64()
		total += math.Pow(v-mean, k)
	}
	return total / float64(len(s.points))
}

func (s sample) skew() (string, bool) {
	return s.float(s.moment(3) / math.Pow(s.moment(2), 1.5))
}

// kurtosis is the excess over that of a normal distribution.
func (s sample) kurtosis() (string, bool) {
	return s.float(s.moment(4)/math.Pow(s.moment(2), 2) - 3)
}

// regression is the slope of the line of least squares, per day.
func (s sample) regression() (string, bool) {
	var n, days, values float64
	for _, p := range s.points {
		if !p.when.IsZero() {
			v, _ := p.value.Float64()
			n, days, values = n+1, days+day(p.when), values+v
		}
	}
	var up, across float64
	for _, p := range s.points {
		if !p.when.IsZero() {
			v, _ := p.value.Float64()
			dx := day(p.when) - days/n
			up, across = up+dx*(v-values/n), across+dx*dx
		}
	}
	if across == 0 {
		return "", false
	}
	return s.float(up / across)
}

func day(t time.Time) float64 { return float64(t.UnixMicro()) / (24 * 3600 * 1e6) }
