package audit

import (
	"bufio"
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"
	"time"

	"golang.org/x/mod/sumdb/note"

	"gatehouse/providers"
)

// checkpointsName is the file with the checkpoints of a log.
const checkpointsName = "checkpoints"

// Checkpoint says that record Seq of a log has a certain hash, and so have all records before it. Its form is
// a signed note (C2SP signed-note) with the lines of a tlog-checkpoint: origin, number of records, hash,
// extension.
type Checkpoint struct {
	// Log is the ID of the log.
	Log string
	// Seq is the last record that the checkpoint covers.
	Seq uint64
	// Hash is the SHA-256 of that record, in base64url.
	Hash string
	// Time is when the checkpoint was made.
	Time time.Time
}

const originPrefix = "gatehouse audit log "

// sign returns the checkpoint of h as a signed note. segment and offset say where the record ends.
func (h head) sign(
	signer note.Signer, log string, segment uint64, offset int64, at time.Time,
) ([]byte, error) {
	text := fmt.Sprintf("%s%s\n%d\n%s\nsegment %d offset %d time %s\n",
		originPrefix, log, h.seq, h.text(), segment, offset, at.UTC().Format(time.RFC3339))
	return note.Sign(&note.Note{Text: text}, signer)
}

// openCheckpoint checks the signature of a note and parses it.
func openCheckpoint(text []byte, keys note.Verifiers) (Checkpoint, error) {
	n, err := note.Open(text, keys)
	var unknown *note.UnverifiedNoteError
	var invalid *note.InvalidSignatureError
	switch {
	case errors.As(err, &unknown):
		return Checkpoint{}, errors.New("it is signed with another key")
	case errors.As(err, &invalid):
		return Checkpoint{}, errors.New("its signature is not valid")
	case err != nil:
		return Checkpoint{}, errors.New("it is not a signed note")
	}
	return parseCheckpoint(n.Text)
}

// parseCheckpoint parses the text of a note.
func parseCheckpoint(text string) (Checkpoint, error) {
	lines := strings.Split(text, "\n")
	var c Checkpoint
	if len(lines) != 5 {
		return Checkpoint{}, errors.New("it is not a checkpoint of an audit log")
	}
	var ok bool
	var err error
	c.Log, ok = strings.CutPrefix(lines[0], originPrefix)
	c.Seq, err = strconv.ParseUint(lines[1], 10, 64)
	c.Hash = lines[2]
	_, at, hasTime := strings.Cut(lines[3], " time ")
	when, timeErr := time.Parse(time.RFC3339, at)
	if !ok || err != nil || !hasTime || timeErr != nil {
		return Checkpoint{}, errors.New("it is not a checkpoint of an audit log")
	}
	c.Time = when
	return c, nil
}

// noteInLog finds the note of a checkpoint in a line of the server's log, in both formats of the log.
var noteInLog = regexp.MustCompile(`(?:note=|"note":)("(?:[^"\\]|\\.)*")`)

// splitNotes returns the signed notes of a file of checkpoints, or of a log of the server. torn is the number
// of bytes at the end that are no whole note: a crash leaves them.
func splitNotes(data []byte) (notes [][]byte, torn int) {
	if bytes.Contains(data, []byte("note=")) || bytes.Contains(data, []byte(`"note":`)) {
		for _, match := range noteInLog.FindAllSubmatch(data, -1) {
			text, err := strconv.Unquote(string(match[1]))
			if err == nil && strings.HasPrefix(text, originPrefix) {
				notes = append(notes, []byte(text))
			}
		}
		return notes, 0
	}
	// A note is text, an empty line, and lines with signatures; another empty line ends it in the file.
	for len(data) > 0 {
		textEnd := bytes.Index(data, []byte("\n\n"))
		if textEnd < 0 {
			break
		}
		end := bytes.Index(data[textEnd+2:], []byte("\n\n"))
		if end < 0 {
			break
		}
		end += textEnd + 3 // with the line end of the last signature
		notes = append(notes, data[:end])
		data = data[end+1:]
	}
	return notes, len(data)
}

// maxNote is longer than every checkpoint, in bytes.
const maxNote = 16 << 10

// readNotes calls each with every whole note of a file of checkpoints, without keeping them: there is one for each
// audit.checkpoint of the life of a log. The text is valid until each returns; that of a note that is too long is
// empty. whole is the length of the whole notes, and torn that of what follows them.
func readNotes(file io.Reader, each func(text []byte)) (whole, torn int64, err error) {
	r := bufio.NewReaderSize(file, maxNote)
	var text []byte
	isLong, blankLines, isRest := false, 0, false // isRest: the line is the rest of a long one
	for {
		line, err := r.ReadSlice('\n')
		torn += int64(len(line))
		switch {
		case errors.Is(err, bufio.ErrBufferFull):
			isLong, isRest = true, true
			continue
		case errors.Is(err, io.EOF):
			return whole, torn, nil
		case err != nil:
			return whole, torn, err
		}
		// A note is text, an empty line, and lines with signatures; another empty line ends it in the file.
		isBlank := len(line) == 1 && !isRest
		isRest = false
		if isBlank {
			blankLines++
		}
		if blankLines < 2 {
			if isLong = isLong || len(text)+len(line) > maxNote; !isLong {
				text = append(text, line...)
			}
			continue
		}
		if isLong {
			text = nil
		}
		each(text)
		whole += torn
		text, isLong, blankLines, torn = text[:0], false, 0, 0
	}
}

// NewKey returns a new signing key of that name and its public key, both in the form of C2SP signed-note.
func NewKey(name string) (signing, public string, err error) {
	return note.GenerateKey(rand.Reader, name)
}

// PublicKey returns the public key of a signing key.
func PublicKey(signing string) (string, error) {
	signer, err := newSigner(providers.Secret(signing))
	if err != nil {
		return "", err
	}
	parts := strings.SplitN(strings.TrimSpace(signing), "+", 5) // PRIVATE+KEY+name+hash+key
	raw, err := base64.StdEncoding.DecodeString(parts[4])
	if err != nil || len(raw) != 1+ed25519.SeedSize {
		return "", errors.New("it is not an Ed25519 key")
	}
	private := ed25519.NewKeyFromSeed(raw[1:])
	return note.NewEd25519VerifierKey(signer.Name(), private.Public().(ed25519.PublicKey))
}

// newSigner parses a signing key. The error does not quote it.
func newSigner(key providers.Secret) (note.Signer, error) {
	signer, err := note.NewSigner(strings.TrimSpace(key.Reveal()))
	if err != nil {
		return nil, errors.New("it is not a key of `gatehouse audit key`")
	}
	return signer, nil
}

// keyID identifies a signer or verifier without revealing its key.
func keyID(key interface {
	Name() string
	KeyHash() uint32
}) string {
	return fmt.Sprintf("%s+%08x", key.Name(), key.KeyHash())
}
