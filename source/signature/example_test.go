package signature_test

import (
	"fmt"
	"time"

	"github.com/tallyhook/tallyhook/source/signature"
)

// PubScale signs three fields, one of them cut to its whole part.
func Example() {
	v, err := signature.Compile(signature.Spec{
		Algorithm: "md5",
		Input:     "{@secret}.{user_id}.{value|int}.{token}",
		Signature: signature.Place{In: "query:signature"},
		ID:        &signature.Place{In: "query:token"},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	secrets := &signature.Secrets{Current: []byte("fa072672-d432-11c4-885a-EB1CdEc4Bb13")}
	r := &signature.Request{Method: "GET", URL: "/p/abc?user_id=30356439-8d15-4f47-B133-010a37C19eBD&value=100.1234" +
		"&token=525a5B8e-512b-441A-a10B-72d218c370e5&signature=918809ac0e5fcc1960c8875d9e9c8e80"}
	out := v.Verify(r, secrets, time.Now())
	fmt.Println(out.OK, out.ID, out.Secret)
	fmt.Println(v.Covers("query:value"), v.Covers("query:payout_usd"))

	r.URL = "/p/abc?user_id=u1&value=5&token=t1&signature=918809ac0e5fcc1960c8875d9e9c8e80"
	for _, step := range v.Explain(r, secrets, time.Now()) {
		fmt.Printf("%s: %s\n", step.Name, step.Text)
	}
	// Output:
	// true 525a5B8e-512b-441A-a10B-72d218c370e5 current
	// part none
	// signature: found 1 in query:signature, of 16 bytes
	// id: query:token is "t1"
	// input: signed is ***.u1.5.t1
	// digest: md5 with the secret named current gives 6a097efc…, sent was 918809ac…
	// result: signature_wrong
}
