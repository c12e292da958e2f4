package event

// Most requests hold no secret, and looking for words is dear. Every word that
// names a secret contains one of these stems; a text without any, and without
// escapes that could spell one, is as it is.
var stems = [...]string{"key", "sig", "has", "pwd", "aut", "bea", "hma", "jwt", "pas", "cre", "tok", "sec"}

// stemBits[i][c] has bit k when character i of stem k is c, in either case.
var stemBits = func() (bits [3][256]uint16) {
	for k, stem := range stems {
		for i := range bits {
			bits[i][stem[i]] |= 1 << k
			bits[i][stem[i]-'a'+'A'] |= 1 << k
		}
	}
	return bits
}()

// MayHoldSecret reports whether a text could name a secret. When it does not,
// redacting changes nothing.
func MayHoldSecret(s string) bool {
	var first, second uint16 // stems whose beginning ends at the character before
	for i := 0; i < len(s); i++ {
		c := s[i]
		if second&stemBits[2][c] != 0 {
			return true
		}
		second = first & stemBits[1][c]
		first = stemBits[0][c]
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
