package pipeline

import (
	"bytes"
	"net/netip"
)

// span is text[from:to].
type span struct{ from, to int }

// A finder appends what it finds in text to spans. Finders see one reading of a text; they are written by hand since they
// look at every text that passes, and each is linear in the length of the text, whatever a client writes.
type finder func(text []byte, spans []span) []span

// Character classes of finders.
const (
	isDigit = 1 << iota
	isLower
	isUpper
	isHex    // digits, a-f, A-F
	isLocal  // may stand in an e-mail address before the at sign
	isHost   // may stand in a host name
	isToken  // base64, base64url, hexadecimal
	isSpaced // ends a URL: space, quotes, angle brackets, control characters
)

var class = func() (t [256]uint16) {
	add := func(bit uint16, chars string) {
		for i := range len(chars) {
			t[chars[i]] |= bit
		}
	}
	for c := range 256 {
		switch b := byte(c); {
		case '0' <= b && b <= '9':
			t[c] |= isDigit | isHex | isLocal | isHost | isToken
		case 'a' <= b && b <= 'z':
			t[c] |= isLower | isLocal | isHost | isToken
		case 'A' <= b && b <= 'Z':
			t[c] |= isUpper | isLocal | isHost | isToken
		case b >= 0x80: // letters of other scripts, byte by byte
			t[c] |= isLocal | isHost
		case b <= ' ' || b == 0x7F:
			t[c] |= isSpaced
		}
	}
	add(isHex, "abcdefABCDEF")
	add(isLocal, ".!#$%*+-^_`~'")
	add(isHost, ".-_")
	add(isToken, "+/_-")
	add(isSpaced, "\"<>")
	return t
}()

const isAlnum = isDigit | isLower | isUpper

// findEmail finds addresses: something, an at sign, and a host name whose last label begins like a name.
func findEmail(text []byte, spans []span) []span {
	for i := 0; ; {
		at := bytes.IndexByte(text[i:], '@')
		if at < 0 {
			return spans
		}
		at += i
		from := at
		if from > 0 && text[from-1] == '"' { // "a b"@example.com
			if open := bytes.LastIndexByte(text[i:from-1], '"'); open >= 0 && from-2 > i+open {
				from = i + open
			}
		} else {
			for from > i && class[text[from-1]]&isLocal != 0 {
				from--
			}
			for from < at && class[text[from]]&isAlnum == 0 && text[from] < 0x80 && text[from] != '_' { // quotes and bullets
				from++
			}
		}
		to := at + 1
		for to < len(text) && class[text[to]]&isHost != 0 {
			to++
		}
		for to > at+1 && (text[to-1] == '.' || text[to-1] == '-' || text[to-1] == '_') {
			to--
		}
		if from < at && isDomain(text[at+1:to]) {
			spans = append(spans, span{from, to})
			i = to
		} else {
			i = at + 1
		}
	}
}

// isDomain reports whether host has at least two labels, the last one a name.
func isDomain(host []byte) bool {
	dot := bytes.LastIndexByte(host, '.')
	if dot < 1 || host[0] == '.' {
		return false
	}
	last := host[dot+1:]
	if len(last) >= 4 && bytes.EqualFold(last[:4], []byte("xn--")) {
		return true
	}
	if len(last) == 0 || class[last[0]]&isDigit != 0 {
		return false
	}
	letters := 0
	for _, c := range last {
		if class[c]&(isLower|isUpper) != 0 || c >= 0x80 {
			letters++
		}
	}
	return letters >= 2
}

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

// products are names before a slash after which four numbers are a version.
var products = [][]byte{[]byte("Chrome"), []byte("Chromium"), []byte("HeadlessChrome"), []byte("CriOS"), []byte("Edg"), []byte("EdgA"), []byte("EdgiOS"), []byte("Edge"),
	[]byte("OPR"), []byte("OPX"), []byte("Opera"), []byte("Vivaldi"), []byte("YaBrowser"), []byte("SamsungBrowser"), []byte("Brave"), []byte("Version"), []byte("Safari"),
	[]byte("Firefox"), []byte("UCBrowser"), []byte("Electron"), []byte("MiuiBrowser"), []byte("DuckDuckGo"), []byte("GSA"), []byte("FBAV"), []byte("Instagram")}

// findIP finds IPv4 addresses as four numbers and IPv6 addresses in any of their spellings.
func findIP(text []byte, spans []span) []span {
	for i := 0; i < len(text); {
		if class[text[i]]&isHex == 0 && text[i] != ':' {
			i++
			continue
		}
		from, colons, dots, short := i, 0, 0, false
		for i < len(text) && (class[text[i]]&isHex != 0 || text[i] == ':' || text[i] == '.') {
			if text[i] == ':' {
				colons++
				short = short || i > from && text[i-1] == ':'
			} else if text[i] == '.' {
				dots++
			}
			i++
		}
		if (short || colons >= 6) && i-from <= 64 {
			if one, ok := ipv6In(text, from, i); ok {
				spans = append(spans, one)
				continue
			}
		}
		if dots >= 3 {
			spans = findIPv4(text, from, i, spans)
		}
	}
	return spans
}

// ipv6In returns the address in a run of hexadecimal digits, dots and colons. Words and punctuation may touch it:
// "ip:fe80::1.", "fe80::1:".
func ipv6In(text []byte, from, to int) (span, bool) {
	if to < len(text) && class[text[to]]&isAlnum != 0 {
		return span{}, false
	}
	for start, tries := from, 0; start < to-1 && tries < 3; tries++ {
		if start == 0 || class[text[start-1]]&isAlnum == 0 && !bytes.HasSuffix(text[:start], []byte("::")) {
			for end := to; end-start > 2 && end > to-3; end-- {
				addr, err := netip.ParseAddr(string(text[start:end]))
				if err == nil && addr.Is6() && addr != netip.IPv6Unspecified() {
					return span{start, end}, true
				}
			}
		}
		next := bytes.IndexByte(text[start:to], ':')
		if next < 0 {
			break
		}
		start += next + 1
	}
	return span{}, false
}

// findIPv4 finds addresses in text[from:to], a run of hexadecimal digits, dots and colons.
func findIPv4(text []byte, from, to int, spans []span) []span {
	for i := from; i < to; {
		if class[text[i]]&isDigit == 0 || i > 0 && class[text[i-1]]&isDigit != 0 {
			i++
			continue
		}
		end := ipv4(text[i:to])
		fifth := i >= 2 && text[i-1] == '.' && class[text[i-2]]&isDigit != 0
		if end == 0 || fifth || isVersion(text[:i]) {
			i++
			continue
		}
		spans = append(spans, span{i, i + end})
		i += end
	}
	return spans
}

// ipv4 returns the length of the address at the beginning of b, or 0. A fifth number means that it is none.
func ipv4(b []byte) int {
	i := 0
	for part := range 4 {
		n, from := 0, i
		for i < len(b) && i-from < 3 && class[b[i]]&isDigit != 0 {
			n = n*10 + int(b[i]-'0')
			i++
		}
		if i == from || n > 255 {
			return 0
		}
		if part < 3 {
			if i == len(b) || b[i] != '.' {
				return 0
			}
			i++
		}
	}
	if i < len(b) && class[b[i]]&isDigit != 0 || i+1 < len(b) && b[i] == '.' && class[b[i+1]]&isDigit != 0 {
		return 0
	}
	return i
}

// isVersion reports whether before ends in a product's name and a slash, as in Chrome/102.0.0.0.
func isVersion(before []byte) bool {
	name, ok := bytes.CutSuffix(before, []byte("/"))
	if !ok {
		return false
	}
	for _, p := range products {
		if rest, ok := bytes.CutSuffix(name, p); ok && (len(rest) == 0 || class[rest[len(rest)-1]]&isAlnum == 0) {
			return true
		}
	}
	return false
}
