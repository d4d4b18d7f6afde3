package telemetry

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// number writes 12,345 for 12345.
func number[N int | int64 | uint64](n N) string {
	digits := strconv.FormatInt(int64(n), 10)
	sign := ""
	if strings.HasPrefix(digits, "-") {
		sign, digits = "-", digits[1:]
	}
	for i := len(digits) - 3; i > 0; i -= 3 {
		digits = digits[:i] + "," + digits[i:]
	}
	return sign + digits
}

// count writes a number with the plural of what is counted.
func count(n int64, what string) string {
	switch {
	case n == 1:
	case strings.HasSuffix(what, "y"):
		what = strings.TrimSuffix(what, "y") + "ies"
	default:
		what += "s"
	}
	return number(n) + " " + what
}

func percent(share float64) string {
	switch p := 100 * share; {
	case p <= 0:
		return "0 %"
	case p < 0.1:
		return "< 0.1 %"
	case p < 10:
		return fmt.Sprintf("%.1f %%", p)
	default:
		return fmt.Sprintf("%.0f %%", p)
	}
}

func perSecond(rate float64) string {
	switch {
	case rate <= 0:
		return "0"
	case rate < 0.1:
		return "< 0.1"
	case rate < 100:
		return fmt.Sprintf("%.1f", rate)
	default:
		return number(int64(math.Round(rate)))
	}
}

// latency writes seconds with a unit that fits.
func latency(seconds float64) string {
	switch {
	case seconds < 1:
		return fmt.Sprintf("%.0f ms", 1000*seconds)
	case seconds < 10:
		return fmt.Sprintf("%.1f s", seconds)
	default:
		return fmt.Sprintf("%.0f s", seconds)
	}
}

// text writes a quantile. Below the first bound and beyond the last one, the value is not known.
func (h histogram) text(quantile float64) string {
	bounds := h.bounds()
	switch {
	case len(bounds) < 2:
		return "–"
	case quantile < bounds[0]:
		return "< " + latency(bounds[0])
	case quantile >= bounds[len(bounds)-2]:
		return "> " + latency(bounds[len(bounds)-2])
	}
	return latency(quantile)
}

// span writes a duration in its two largest units.
func span(d time.Duration) string {
	seconds := int64(d / time.Second)
	minutes, hours, days := seconds/60, seconds/3600, seconds/86400
	switch {
	case seconds < 100:
		return fmt.Sprintf("%d s", seconds)
	case minutes < 100:
		return fmt.Sprintf("%d min", minutes)
	case hours < 48:
		return fmt.Sprintf("%d h %d min", hours, minutes%60)
	default:
		return fmt.Sprintf("%d d %d h", days, hours%24)
	}
}

func megabytes(bytes uint64) string { return fmt.Sprintf("%.0f MB", float64(bytes)/1e6) }
