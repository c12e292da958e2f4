package event

// Most requests hold no secret, and looking for words is dear. Every word that
// names a secret contains one of these stems; a text without any, and without
// escapes that could spell one, is as it is.
var stems = [...]string{"key", "sig", "hash", "pwd", "auth", "bear", "hmac", "jwt", "pass", "cred", "toke", "secr"}

// stemBits[i][c] has bit k when character i of stem k is c, in either case.
// stemEnds[i] has the stems that end with character i.
var stemBits, stemEnds = func() (bits [4][256]uint16, ends [4]uint16) {
	for k, stem := range stems {
		for i := range len(stem) {
			bits[i][stem[i]] |= 1 << k
			bits[i][stem[i]-'a'+'A'] |= 1 << k
		}
		ends[len(stem)-1] |= 1 << k
	}
	return bits, ends
}()

// MayHoldSecret reports whether a text could name a secret. When it does not,
// redacting changes nothing.
func MayHoldSecret(s string) bool {
	var one, two, three uint16 // stems of which so many characters end before this one
	for i := 0; i < len(s); i++ {
		c := s[i]
		four := three & stemBits[3][c]
		three = two & stemBits[2][c]
		if four|three&stemEnds[2] != 0 {
			return true
		}
		two = one & stemBits[1][c]
		one = stemBits[0][c]
		if c == '%' && i+2 < len(s) {
			if hi, lo := unhex(s[i+1]), unhex(s[i+2]); hi < 16 && lo < 16 && alnum(hi<<4|lo) {
				return true
			}
		} else if c == '\\' && i+1 < len(s) && s[i+1] == 'u' {
			return true
		}
	}
	return false
}
