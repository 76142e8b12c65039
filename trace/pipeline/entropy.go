package pipeline

import (
	"bytes"
	"math"
)

// Bounds of what looks random. A shorter run is as likely a word, a number or an id that people gave.
const (
	minHex    = 32
	minBase64 = 32
)

// findEntropy finds long runs of characters that look like the output of a random generator: hexadecimal, or base64 in
// which letters and digits alternate as no language and no path does. UUIDs are ids and stay.
func findEntropy(text []byte, spans []span) []span {
	for i := 0; i < len(text); {
		if class[text[i]]&isToken == 0 {
			i++
			continue
		}
		from := i
		for i < len(text) && class[text[i]]&isToken != 0 {
			i++
		}
		to := i
		for i < len(text) && text[i] == '=' {
			i++
		}
		run := text[from:to]
		if len(run) < minHex || isUUID(run) {
			continue
		}
		if looksRandom(run) {
			spans = append(spans, span{from, i})
			continue
		}
		for piece := from; piece < to; piece++ { // of a path
			end := to
			if at := bytes.IndexByte(text[piece:to], '/'); at >= 0 {
				end = piece + at
			}
			if end-piece < to-from && looksRandom(text[piece:end]) {
				spans = append(spans, span{piece, end})
			} else {
				spans = hexRuns(text, piece, end, spans)
			}
			piece = end
		}
	}
	return spans
}

// hexRuns finds hexadecimal runs inside a longer one, as in path/0123….
func hexRuns(text []byte, from, to int, spans []span) []span {
	for i := from; i < to; {
		if class[text[i]]&isHex == 0 {
			i++
			continue
		}
		start, digits, letters := i, 0, 0
		for i < to && class[text[i]]&isHex != 0 {
			if class[text[i]]&isDigit != 0 {
				digits++
			} else {
				letters++
			}
			i++
		}
		if i-start >= minHex && digits >= 4 && letters >= 4 && entropy(text[start:i]) >= 2.8 {
			spans = append(spans, span{start, i})
		}
	}
	return spans
}

// looksRandom reports whether a run is base64 or base32 of something random: digits and letters that change often, or
// nearly as many different characters as chance would give.
func looksRandom(run []byte) bool {
	n := len(run)
	if n < minBase64 || isUUID(run) {
		return false
	}
	var kinds, last uint16
	changes, capitals := 0, 0
	for _, c := range run {
		k := class[c] & isAlnum
		kinds |= k
		switch {
		case k == last || last == 0 || k == 0:
		case last == isUpper && k == isLower: // as at the beginning of each word
			capitals++
		default:
			changes++
		}
		if k != 0 {
			last = k
		}
	}
	if kinds&isDigit == 0 || kinds == isDigit {
		return false
	}
	bits := entropy(run)
	if changes*100 >= 27*n && bits >= 3.9 {
		return true
	}
	return n >= 40 && kinds == isAlnum && (changes+capitals)*100 >= 30*n && (bits >= 4.9 || n < 64 && bits >= 4.6)
}

// entropy is Shannon's, in bits a character.
func entropy(run []byte) float64 {
	var counts [256]int
	for _, c := range run {
		counts[c]++
	}
	sum, n := 0.0, float64(len(run))
	for _, k := range counts {
		if k > 0 {
			sum -= float64(k) / n * math.Log2(float64(k)/n)
		}
	}
	return sum
}

func isUUID(run []byte) bool {
	if len(run) != 36 {
		return false
	}
	for i, c := range run {
		if dash := i == 8 || i == 13 || i == 18 || i == 23; dash != (c == '-') || !dash && class[c]&isHex == 0 {
			return false
		}
	}
	return true
}
