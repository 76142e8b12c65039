package pipeline

import (
	"bytes"
	"net/netip"
)

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
