package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/alecthomas/kong"
)

type sourceSecretCmd struct {
	ID        string        `arg:"" help:"Id of the source."`
	Set       string        `env:"-" help:"The sender's own secret: @FILE, - for stdin, or the text itself, which others on this machine can read while the command runs." placeholder:"@FILE"`
	Generate  bool          `env:"-" help:"A new secret in the form that the signature wants, told this once."`
	Keep      time.Duration `default:"24h" help:"How long the secret before stays good beside the new one; 0s ends it at once."`
	Drop      bool          `env:"-" help:"End all secrets."`
	PublicKey string        `env:"-" help:"Public key of the sender, PEM, base64 or hex, under the id that its requests name it by. FILE - is stdin." placeholder:"ID=FILE"`
	DropKey   string        `env:"-" help:"End the public key of that id." placeholder:"ID"`
	JSON      bool          `help:"Print the source as JSON."`
}

const secretBytesMax = 8 << 10 // of a file that holds a secret or a key

func (s sourceSecretCmd) Run(a *app) error {
	asked := 0
	for _, is := range []bool{s.Set != "", s.Generate, s.Drop, s.PublicKey != "", s.DropKey != ""} {
		if is {
			asked++
		}
	}
	switch {
	case asked > 1:
		return usagef("source secret %s: say one of --set, --generate, --drop, --public-key and --drop-key", s.ID)
	case s.Keep < 0:
		return usagef("--keep %s: want 0s or more", s.Keep)
	}
	method, path, body, err := s.request()
	if err != nil {
		return err
	}
	return a.withClient(func(c *client) error {
		var raw json.RawMessage
		var err error
		if body == nil {
			err = c.ask(a.ctx, method, path, "", nil, &raw)
		} else {
			err = c.send(a.ctx, method, path, body, &raw)
		}
		if err != nil {
			return err
		}
		if s.JSON {
			return a.printJSON(raw)
		}
		return a.printSecrets(raw)
	})
}

// request is what asks for what was said; nothing said shows what there is.
func (s *sourceSecretCmd) request() (method, path string, body map[string]any, err error) {
	path = sourcePath(s.ID)
	switch {
	case s.Set != "":
		secret, err := secretFrom("--set", s.Set)
		return http.MethodPost, path + "/secrets", map[string]any{"secret": secret, "keep": s.Keep.String()}, err
	case s.Generate:
		return http.MethodPost, path + "/secrets", map[string]any{"keep": s.Keep.String()}, nil
	case s.Drop:
		return http.MethodDelete, path + "/secrets", nil, nil
	case s.DropKey != "":
		return http.MethodDelete, path + "/keys/" + url.PathEscape(s.DropKey), nil, nil
	case s.PublicKey != "":
		id, file, ok := strings.Cut(s.PublicKey, "=")
		if !ok || id == "" || file == "" {
			return "", "", nil, usagef("--public-key %q: want ID=FILE", s.PublicKey)
		}
		if file != "-" {
			file = "@" + file
		}
		key, err := secretFrom("--public-key", file)
		return http.MethodPost, path + "/keys", map[string]any{"id": id, "key": key}, err
	}
	return http.MethodGet, path, nil, nil
}

// printSecrets says what a source's requests are checked with.
func (a *app) printSecrets(raw json.RawMessage) error {
	var src handedOut
	if err := json.Unmarshal(raw, &src); err != nil {
		return err
	}
	fmt.Fprintf(a.out, "source  %s\n", printable(src.ID))
	switch {
	case src.SecretValue != "":
		fmt.Fprintf(a.out, "secret  %s\n        told this once; the sender must %s\n", printable(src.SecretValue), src.use())
	case src.Secret:
		fmt.Fprintln(a.out, "secret  set; it is not told")
	default:
		fmt.Fprintln(a.out, "secret  none")
	}
	if src.SecretsUntil != "" {
		fmt.Fprintf(a.out, "before  the one before it is good too, until %s\n", moment(src.SecretsUntil))
	}
	for _, id := range src.PublicKeys {
		fmt.Fprintf(a.out, "key     %s\n", printable(id))
	}
	a.printCare(&src)
	return nil
}

// secretFlag is a flag that asks for a secret: alone for one that is made, with
// a value for the sender's own. A value that does not begin with @ and is not -
// needs the form --flag=VALUE, or the next argument would be taken for it.
type secretFlag struct {
	asked bool
	text  string
}

// IsBool lets the flag stand alone.
func (*secretFlag) IsBool() bool { return true }

// Decode reads the flag.
func (s *secretFlag) Decode(ctx *kong.DecodeContext) error {
	*s = secretFlag{asked: true}
	next := ctx.Scan.Peek()
	switch v := next.Value.(type) {
	case string:
		if next.Type == kong.FlagValueToken || v == "-" || strings.HasPrefix(v, "@") {
			s.text = v
			ctx.Scan.Pop()
		}
	case bool:
		s.asked = v
		ctx.Scan.Pop()
	}
	return nil
}

// wish is what the API reads of a new source's secret, nil for nothing.
func (s *secretFlag) wish() (any, error) {
	switch {
	case !s.asked || s.text == "false":
		return nil, nil
	case s.text == "" || s.text == "true":
		return true, nil
	}
	return secretFrom("--secret", s.text)
}

// secretFrom reads a secret that a flag names: @FILE, - for stdin, or the text
// itself. A line end behind it is not part of it. Errors never hold it.
func secretFrom(flag, text string) (string, error) {
	var in io.Reader = os.Stdin
	if path, ok := strings.CutPrefix(text, "@"); ok {
		f, err := os.Open(path)
		if err != nil {
			return "", usagef("%s: %w", flag, err)
		}
		defer f.Close()
		in = f
	} else if text != "-" {
		return text, nil
	}
	p, err := io.ReadAll(io.LimitReader(in, secretBytesMax+1))
	switch {
	case err != nil:
		return "", fmt.Errorf("%s: %w", flag, err)
	case len(p) > secretBytesMax:
		return "", usagef("%s: more than %d bytes: that is no secret or key", flag, secretBytesMax)
	}
	p = bytes.TrimSuffix(bytes.TrimSuffix(p, []byte("\n")), []byte("\r"))
	if len(p) == 0 {
		return "", usagef("%s: there is nothing in it", flag)
	}
	return string(p), nil
}
