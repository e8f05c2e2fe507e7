package proxy

import (
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"strings"
	"sync"

	"github.com/andybalholm/brotli"
	"github.com/klauspost/compress/zstd"
)

// coding is a content coding (RFC 9110 section 8.4.1) that can be undone and
// done again while a body streams.
type coding struct {
	decode   func(io.Reader) (io.ReadCloser, error)
	encode   func(io.Writer) encoder
	encoders *sync.Pool // of what encode returns, each some 100 kB to 3 MB
}

// encoder compresses. What was written before Flush can be read by a decoder
// that got what came out until then.
type encoder interface {
	io.WriteCloser
	Flush() error
	Reset(io.Writer)
}

// The encoders that are not in use.
var gzipEncoders, brotliEncoders, zstdEncoders sync.Pool

// maxWindow is the longest distance that a zstd body may refer back over, and
// all that browsers accept (RFC 9659).
const maxWindow = 8 << 20

// codingOf finds the coding by the value of Content-Encoding; ok is false for
// one that is unknown, and for more than one at once.
func codingOf(values []string) (c coding, ok bool) {
	if len(values) > 1 {
		return coding{}, false
	}
	name := ""
	if len(values) == 1 {
		name = strings.ToLower(strings.TrimSpace(values[0]))
	}
	switch name {
	case "", "identity":
		return coding{}, true
	case "gzip", "x-gzip":
		return coding{
			func(r io.Reader) (io.ReadCloser, error) { return gzip.NewReader(r) },
			func(w io.Writer) encoder { return gzip.NewWriter(w) },
			&gzipEncoders,
		}, true
	case "br":
		return coding{
			func(r io.Reader) (io.ReadCloser, error) { return io.NopCloser(brotli.NewReader(r)), nil },
			func(w io.Writer) encoder {
				return brotli.NewWriterOptions(w, brotli.WriterOptions{Quality: 4, LGWin: 18})
			},
			&brotliEncoders,
		}, true
	case "zstd":
		return coding{
			func(r io.Reader) (io.ReadCloser, error) {
				// One at a time: then it has no goroutines, and hands out each
				// block once it is there.
				d, err := zstd.NewReader(r, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(maxWindow))
				if err != nil {
					return nil, err
				}
				return d.IOReadCloser(), nil
			},
			func(w io.Writer) encoder {
				// The options are constants that it accepts.
				e, _ := zstd.NewWriter(w, zstd.WithEncoderConcurrency(1), zstd.WithLowerEncoderMem(true), zstd.WithWindowSize(1<<20))
				return e
			},
			&zstdEncoders,
		}, true
	}
	return coding{}, false
}

// recoder compresses what it reads from plain, each piece as it comes.
type recoder struct {
	plain io.Reader
	raw   io.Reader // what plain is decoded from
	enc   encoder
	pool  *sync.Pool
	out   bytes.Buffer
	in    []byte
	err   error
}

func newRecoder(c coding, plain, raw io.Reader) *recoder {
	r := &recoder{plain: plain, raw: raw, pool: c.encoders, in: make([]byte, 16<<10)}
	if used, ok := r.pool.Get().(encoder); ok {
		r.enc = used
		r.enc.Reset(&r.out)
	} else {
		r.enc = c.encode(&r.out)
	}
	return r
}

// Close gives the encoder back.
func (r *recoder) Close() error {
	if r.enc != nil {
		r.enc.Reset(io.Discard)
		r.pool.Put(r.enc)
		r.enc = nil
	}
	return nil
}

// Read implements io.Reader. After an error of plain it does not end what it
// has compressed: whoever decodes it must see that it was broken off.
func (r *recoder) Read(p []byte) (int, error) {
	for r.out.Len() == 0 {
		if r.err != nil {
			return 0, r.err
		}
		n, err := r.plain.Read(r.in)
		if n > 0 {
			_, werr := r.enc.Write(r.in[:n])
			if err == nil {
				err = errors.Join(werr, r.enc.Flush())
			}
		}
		if errors.Is(err, io.EOF) {
			err = r.finish()
		}
		r.err = err
	}
	return r.out.Read(p)
}

// finish ends the compressed text, and reads what an upstream may have sent
// behind its own: the trailers come after that.
func (r *recoder) finish() error {
	if err := r.enc.Close(); err != nil {
		return err
	}
	if _, err := io.Copy(io.Discard, r.raw); err != nil {
		return err
	}
	return io.EOF
}
