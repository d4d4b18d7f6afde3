package server

import (
	"errors"
	"fmt"
	"net/http"
	"runtime/debug"

	"github.com/labstack/echo/v4"
)

// recoverPanics turns a panic into an error. (Tools run on goroutines of the SDK, which this cannot reach: package mcptools
// guards them.)
func recoverPanics(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) (err error) {
		defer func() {
			if v := recover(); v != nil {
				if e, ok := v.(error); ok && errors.Is(e, http.ErrAbortHandler) {
					panic(v) // net/http's own way to drop a connection
				}
				err = fmt.Errorf("panic: %s\n%s", truncate(fmt.Sprint(v)), debug.Stack())
			}
		}()
		return next(c)
	}
}
