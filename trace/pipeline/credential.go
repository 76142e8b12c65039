package pipeline

import (
	"bytes"
	"strings"
)

// credentialNames are ends of names whose values are secret, in lower case and without separators.
var credentialNames = []string{"password", "passwd", "passphrase", "passcode", "pwd", "secret", "token", "apikey", "accesskey", "accesskeyid", "secretkey", "privatekey",
	"signature", "sessionid", "sessid", "cvv", "cvc", "authorization", "credential", "credentials", "jwt", "otp"}

// findCredential finds what stands after a telling name and an equals sign or colon: password=…, "api_key": "…".
func findCredential(text []byte, spans []span) []span {
	for i := 0; i < len(text); i++ {
		if text[i] != '=' && text[i] != ':' || !endsInCredentialName(text[:i]) {
			continue
		}
		from := i + 1
		for from < len(text) && (text[from] == ' ' || text[from] == '"' || text[from] == '\'' || text[from] == '\\' || text[from] == '>' || text[from] == '=') {
			from++
		}
		to := from
		for to < len(text) && class[text[to]]&isSpaced == 0 && !strings.ContainsRune(`&;,'})\`, rune(text[to])) {
			to++
		}
		// "Authorization: Bearer …" is two words, and the rule for tokens sees to it.
		if value := text[from:to]; len(value) == 0 || isReplacement(value) || value[0] == '/' && text[i] == ':' || bytes.EqualFold(value, []byte("bearer")) || bytes.EqualFold(value, []byte("basic")) ||
			string(value) == "null" || string(value) == "true" || string(value) == "false" {
			continue
		}
		spans = append(spans, span{from, to})
		i = to - 1
	}
	return spans
}

// endsInCredentialName reports whether the last word of before, quotes and spaces after it aside, is a telling name.
func endsInCredentialName(before []byte) bool {
	end := len(before)
	for end > 0 && (before[end-1] == ' ' || before[end-1] == '"' || before[end-1] == '\'' || before[end-1] == '\\' || before[end-1] == ']') {
		end--
	}
	var name [24]byte // from its end
	n := 0
	for i := end; i > 0 && n < len(name); i-- {
		switch c := before[i-1]; {
		case c == '_' || c == '-' || c == '.':
			continue
		case class[c]&isAlnum == 0:
			i = 1
			continue
		default:
			n++
			name[len(name)-n] = c | 0x20
		}
	}
	word := string(name[len(name)-n:])
	for _, c := range credentialNames {
		if strings.HasSuffix(word, c) {
			return true
		}
	}
	return false
}
