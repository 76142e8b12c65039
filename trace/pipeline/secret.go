package pipeline

import (
	"bytes"
	"encoding/base64"
	"strings"
)

// tokenKind is a kind of secret known by how it begins.
type tokenKind struct {
	prefix string
	rest   func(c byte) bool // what may follow
	min    int               // how much of it must follow
	word   bool              // whether a letter or digit before the prefix means something else
}

func alnum(c byte) bool    { return class[c]&isAlnum != 0 }
func capitals(c byte) bool { return class[c]&(isUpper|isDigit) != 0 }
func wide(c byte) bool     { return class[c]&isAlnum != 0 || c == '-' || c == '_' }
func jwt(c byte) bool      { return wide(c) || c == '.' || c == '=' }
func wider(c byte) bool    { return class[c]&isToken != 0 || c == '.' || c == '~' || c == '=' }

// tokens by first byte.
var tokens = func() (byFirst [256][]tokenKind) {
	for _, t := range []tokenKind{
		{"eyJ", jwt, 16, false},                                                                                                                                                                  // JWT, and other JSON in base64; see isJWT
		{"AKIA", capitals, 16, false}, {"ASIA", capitals, 16, false}, {"ABIA", capitals, 16, false}, {"ACCA", capitals, 16, false}, {"AIDA", capitals, 16, false}, {"AROA", capitals, 16, false}, // AWS
		{"sk_live_", alnum, 10, false}, {"sk_test_", alnum, 10, false}, {"rk_live_", alnum, 10, false}, {"rk_test_", alnum, 10, false}, {"whsec_", wider, 10, false}, // Stripe
		{"pk_live_", alnum, 10, false}, {"pk_test_", alnum, 10, false},
		{"AIza", wide, 30, false}, {"ya29.", wider, 15, false}, {"GOCSPX-", wide, 15, false}, {"1//0", wide, 20, true}, // Google
		{"ghp_", alnum, 20, false}, {"gho_", alnum, 20, false}, {"ghu_", alnum, 20, false}, {"ghs_", wider, 20, false}, {"ghr_", alnum, 20, false}, {"github_pat_", wide, 20, false}, // GitHub
		{"glpat-", wide, 16, false},                                                                                                                                                                                                                                // GitLab
		{"xoxb-", wide, 10, false}, {"xoxa-", wide, 10, false}, {"xoxp-", wide, 10, false}, {"xoxr-", wide, 10, false}, {"xoxs-", wide, 10, false}, {"xoxe", wider, 10, true}, {"xoxc-", wide, 10, false}, {"xoxd-", wider, 10, false}, {"xapp-", wide, 10, false}, // Slack
		{"hooks.slack.com/services/", wider, 16, false}, {"hooks.slack.com/workflows/", wider, 16, false},
		{"sk-", wide, 20, true}, // OpenAI and those who followed
		{"npm_", alnum, 30, true}, {"pypi-", wide, 16, true}, {"SG.", wider, 30, true}, {"hf_", alnum, 30, true}, {"shpat_", alnum, 20, false}, {"shpss_", alnum, 20, false}, {"dop_v1_", alnum, 20, false}, {"sq0atp-", wide, 16, false}, {"sq0csp-", wide, 16, false},
		{"EAACEdEose0cBA", alnum, 1, false}, {"AGE-SECRET-KEY-1", capitals, 20, false},
		{"-----BEGIN ", nil, 0, false}, // see privateKey
		{"bearer", nil, 0, true}, {"Bearer", nil, 0, true}, {"BEARER", nil, 0, true},
		{"basic", nil, 0, true}, {"Basic", nil, 0, true}, {"BASIC", nil, 0, true},
	} {
		byFirst[t.prefix[0]] = append(byFirst[t.prefix[0]], t)
	}
	return byFirst
}()

// findToken finds keys and tokens that can be told by their form.
func findToken(text []byte, spans []span) []span {
	for i := 0; i < len(text); i++ {
		for _, t := range tokens[text[i]] {
			if len(text)-i < len(t.prefix) || string(text[i:i+len(t.prefix)]) != t.prefix || t.word && i > 0 && alnum(text[i-1]) {
				continue
			}
			from, to := i, i+len(t.prefix)
			switch {
			case t.rest == nil && t.prefix[0] == '-':
				to = privateKey(text, i)
			case t.rest == nil:
				from, to = authorization(text, to, t.prefix[0]|0x20 == 'b' && t.prefix[1]|0x20 == 'a')
			default:
				for to < len(text) && t.rest(text[to]) {
					to++
				}
				if to-i-len(t.prefix) < t.min || t.prefix == "eyJ" && !isJWT(text[i:to]) {
					to = 0
				}
			}
			if to > from {
				spans = append(spans, span{from, to})
				i = to - 1
				break
			}
		}
	}
	return spans
}

// isJWT reports whether the first part of s, up to a dot or its end, is JSON in base64.
func isJWT(s []byte) bool {
	head, _, dotted := bytes.Cut(s, []byte("."))
	if dotted {
		return len(head) >= 10
	}
	head = bytes.TrimRight(head, "=~")
	text, err := base64.RawURLEncoding.DecodeString(strings.NewReplacer("+", "-", "/", "_").Replace(string(head[:len(head)&^3])))
	return err == nil && bytes.HasPrefix(text, []byte(`{"`)) && bytes.IndexByte(text, ':') > 0
}

// privateKey returns where the private key in PEM that begins at text[i] ends; 0 if it is none. One cut short goes to
// the end of the text.
func privateKey(text []byte, i int) int {
	line := text[i:min(len(text), i+64)]
	if at := bytes.Index(line, []byte("PRIVATE KEY")); at < 0 {
		return 0
	}
	if at := bytes.Index(text[i:], []byte("-----END ")); at >= 0 {
		end := i + at + len("-----END ")
		if at := bytes.Index(text[end:], []byte("-----")); at >= 0 {
			return end + at + len("-----")
		}
	}
	return len(text)
}

// authorization returns where the credential after Bearer or Basic stands, whose name ends at text[i].
func authorization(text []byte, i int, basic bool) (from, to int) {
	from = i
	for from < len(text) && (text[from] == ' ' || text[from] == '+' || text[from] == '\t' || text[from] == ':' || text[from] == '_') {
		from++
	}
	if from == i {
		return 0, 0
	}
	to = from
	digit := false
	for to < len(text) && wider(text[to]) {
		digit = digit || class[text[to]]&isDigit != 0
		to++
	}
	for to > from && text[to-1] == '.' { // the end of a sentence
		to--
	}
	if basic {
		plain, err := base64.RawStdEncoding.DecodeString(string(bytes.TrimRight(text[from:to], "=")))
		if err != nil || len(plain) < 3 || bytes.IndexByte(plain, ':') < 0 {
			return 0, 0
		}
		return from, to
	}
	if to-from < 8 || !digit && to-from < 20 {
		return 0, 0
	}
	return from, to
}
