package pipeline

// findCard finds payment card numbers: 12 to 19 digits, alone or in groups, that an issuer could have given out and
// whose checksum is right.
func findCard(text []byte, spans []span) []span {
	for i := 0; i < len(text); {
		if class[text[i]]&isDigit == 0 {
			i++
			continue
		}
		// A run of groups of digits, each separated by one character from the next.
		var groups [40]struct{ from, to int }
		n := 0
		for n < len(groups) {
			from := i
			for i < len(text) && class[text[i]]&isDigit != 0 {
				i++
			}
			groups[n].from, groups[n].to = from, i
			n++
			gap := separator(text[i:])
			if gap == 0 || i+gap >= len(text) || class[text[i+gap]]&isDigit == 0 {
				break
			}
			i += gap
		}
		for first := 0; first < n; first++ {
			var digits [19]byte
			count, best := 0, -1
			for last := first; last < n; last++ {
				g := text[groups[last].from:groups[last].to]
				if count+len(g) > len(digits) {
					break
				}
				count += copy(digits[count:], g)
				if isCard(digits[:count]) {
					best = last
				}
			}
			if best >= 0 {
				spans = append(spans, span{groups[first].from, groups[best].to})
				first = best
			}
		}
		if n == len(groups) { // a number may begin in the last ones, and has no more groups than digits
			i = groups[n-19].from
		}
	}
	return spans
}

// separator returns the length of what may separate two groups of a card's digits; 0 if text does not begin with it.
func separator(text []byte) int {
	if len(text) == 0 {
		return 0
	}
	switch text[0] {
	case ' ', '-', '+', '_', '\t':
		return 1
	case '.': // not a decimal point: groups of three or more on its right end soon
		n := 1
		for n < len(text) && class[text[n]]&isDigit != 0 {
			n++
		}
		if 4 <= n && n <= 7 {
			return 1
		}
	case 0xC2:
		if len(text) > 1 && text[1] == 0xA0 { // no-break space
			return 2
		}
	}
	return 0
}

// isCard reports whether the digits begin as some issuer's do, in the length it uses, and satisfy Luhn's formula.
func isCard(digits []byte) bool {
	n := len(digits)
	if n < 12 {
		return false
	}
	two := int(digits[0]-'0')*10 + int(digits[1]-'0')
	four := two*100 + int(digits[2]-'0')*10 + int(digits[3]-'0')
	known := false
	switch {
	case digits[0] == '4': // Visa
		known = n == 13 || n == 16 || n == 19
	case 51 <= two && two <= 55, 2221 <= four && four <= 2720, 2200 <= four && four <= 2204: // Mastercard, Mir
		known = n == 16
	case two == 34, two == 37: // American Express
		known = n == 15
	case two == 36, two == 38, two == 39, 3000 <= four && four <= 3059: // Diners Club
		known = 14 <= n && n <= 19
	case 3528 <= four && four <= 3589, two == 62, two == 65, 6440 <= four && four <= 6499, four == 6011: // JCB, UnionPay, Discover
		known = 16 <= n && n <= 19
	case two == 50, 56 <= two && two <= 61, two == 63, two == 64, 66 <= two && two <= 69: // Maestro
		known = 12 <= n && n <= 19
	case two == 60, two == 81, two == 82: // RuPay
		known = n == 16
	}
	if !known {
		return false
	}
	sum := 0
	for i, c := range digits {
		d := int(c - '0')
		if (n-i)%2 == 0 {
			if d *= 2; d > 9 {
				d -= 9
			}
		}
		sum += d
	}
	return sum%10 == 0
}
