package images

import "strconv"

func itoa(n int) string { return strconv.Itoa(n) }

// quote makes a string that came from outside fit for a terminal.
func quote(s string) string {
	const most = 200
	if len(s) > most {
		return strconv.QuoteToASCII(s[:most]) + "…"
	}
	return strconv.QuoteToASCII(s)
}
