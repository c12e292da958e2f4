package console

import (
	"embed"
	"net/http"
)

//go:embed openapi.yaml web
var files embed.FS

// pageRoutes are the page for the browser and its parts. They hold nothing of
// the node: the page asks for a key and reads everything through the API.
func pageRoutes() []route {
	rt := func(path, file, contentType string) route {
		return route{method: http.MethodGet, path: path, serve: serveFile(file, contentType), open: true}
	}
	return []route{
		rt("/{$}", "web/index.html", "text/html; charset=utf-8"),
		rt("/assets/app.js", "web/app.js", "text/javascript; charset=utf-8"),
		rt("/assets/view.js", "web/view.js", "text/javascript; charset=utf-8"),
		rt("/assets/style.css", "web/style.css", "text/css; charset=utf-8"),
		rt("/assets/mark.svg", "web/mark.svg", "image/svg+xml"),
	}
}

func serveFile(name, contentType string) func(http.ResponseWriter, *request) error {
	text, err := files.ReadFile(name)
	if err != nil {
		panic("bug: embedded file: " + err.Error())
	}
	return func(w http.ResponseWriter, r *request) error {
		w.Header().Set("Content-Type", contentType)
		_, _ = w.Write(text) // a client that is gone needs no error
		return nil
	}
}
