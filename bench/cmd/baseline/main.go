// Command baseline serves the bare handler of package baseline.
package main

import (
	"flag"
	"fmt"
	"net"
	"os"

	"github.com/tallyhook/tallyhook/bench/baseline"
)

func main() {
	listen := flag.String("listen", "127.0.0.1:8090", "address to listen on")
	flag.Parse()
	l, err := net.Listen("tcp", *listen)
	if err == nil {
		err = baseline.Serve(l)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "baseline:", err)
		os.Exit(1)
	}
}
