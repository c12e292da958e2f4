package main

import (
	"crypto/hmac"
	"crypto/md5"
	"crypto/sha256"
	"encoding/hex"

	"github.com/rogpeppe/go-internal/testscript"
)

// digest sets a variable to what a sender would sign with, reckoned beside the
// program's own verifier:
//
//	digest NAME md5 TEXT               hex
//	digest NAME hmac-sha256 KEY TEXT   hex
func digest(ts *testscript.TestScript, neg bool, args []string) {
	switch {
	case len(args) == 3 && args[1] == "md5":
		sum := md5.Sum([]byte(args[2]))
		ts.Setenv(args[0], hex.EncodeToString(sum[:]))
	case len(args) == 4 && args[1] == "hmac-sha256":
		mac := hmac.New(sha256.New, []byte(args[2]))
		mac.Write([]byte(args[3]))
		ts.Setenv(args[0], hex.EncodeToString(mac.Sum(nil)))
	default:
		ts.Fatalf("usage: digest NAME md5 TEXT, or digest NAME hmac-sha256 KEY TEXT")
	}
}
