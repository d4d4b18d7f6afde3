package server

import (
	"errors"
	"fmt"
	"net/http"
	"runtime/debug"

	"github.com/labstack/echo/v4"

	"gatehouse/providers"
)

// recoverPanics turns a panic into an error. Those of tools do not get here: package mcphttp recovers them, because
// most tools run on goroutines of the SDK.
func recoverPanics(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) (err error) {
		defer func() {
			if v := recover(); v != nil {
				if e, ok := v.(error); ok && errors.Is(e, http.ErrAbortHandler) {
					panic(v) // how a handler asks net/http to drop the connection
				}
				err = fmt.Errorf("panic: %s\n%s", providers.Printable(fmt.Sprint(v), maxName), debug.Stack())
			}
		}()
		return next(c)
	}
}
