//go:build !linux

package doctor

import "errors"

// diskOf returns an error: only the interface of Linux is known here.
func diskOf(string) (Disk, error) { return Disk{}, errors.ErrUnsupported }
