package main

import (
	"embed"
	"io"
	"net/http"
	"net/url"

	"gatehouse/providers/page"
)

//go:embed callback.html
var callbackTemplate embed.FS

// writeCallbackPage tells the user in the browser what the authorization response of `gatehouse token get` is. The
// program shows the details; the page contains nothing of the response, which any page can forge.
func writeCallbackPage(w http.ResponseWriter, response url.Values) {
	templates, err := page.Parse(callbackTemplate, "callback.html")
	content := page.Page{Title: "Signed in", Site: "gatehouse token get", Data: false}
	if response.Has("error") {
		content.Title, content.Data = "Sign-in refused", true
	}
	w.Header().Set("Cache-Control", "no-store") // the address contains the code
	if err == nil {
		err = templates.Write(w, http.StatusOK, "callback.html", content)
	}
	if err != nil { // the template is a part of the program
		_, _ = io.WriteString(w, content.Title+". Return to the terminal.\n")
	}
}
