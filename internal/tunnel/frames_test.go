package tunnel

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// Opcodes of RFC 6455 section 11.8.
const (
	opText   = 0x1
	opBinary = 0x2
	opPing   = 0x9
)

// encode writes one frame as RFC 6455 section 5.2 draws it. It shares nothing
// with the follower.
func encode(fin bool, opcode byte, masked bool, payload []byte) []byte {
	var b bytes.Buffer
	first := opcode
	if fin {
		first |= 1 << 7
	}
	b.WriteByte(first)
	var mask byte
	if masked {
		mask = 1 << 7
	}
	switch n := len(payload); {
	case n <= 125:
		b.WriteByte(mask | byte(n))
	case n <= 0xffff:
		b.WriteByte(mask | 126)
		_ = binary.Write(&b, binary.BigEndian, uint16(n))
	default:
		b.WriteByte(mask | 127)
		_ = binary.Write(&b, binary.BigEndian, uint64(n))
	}
	if !masked {
		b.Write(payload)
		return b.Bytes()
	}
	key := []byte{0x81, 0x00, 0xff, 0x7e}
	b.Write(key)
	for i, c := range payload {
		b.WriteByte(c ^ key[i%4])
	}
	return b.Bytes()
}

// payload has bytes that look like headers.
func payload(n int) []byte {
	return bytes.Repeat([]byte{0x88, 0x82, 0xff, 0x00, 0x7f, 0x7e, 0x81}, n/7+1)[:n]
}

func TestFramesAreFollowedThroughEveryCut(t *testing.T) {
	t.Parallel()
	for _, masked := range []bool{false, true} {
		for _, n := range []int{0, 1, 2, 124, 125, 126, 127, 128, 255, 256, 65535, 65536} {
			t.Run(fmt.Sprintf("%d bytes, masked %v", n, masked), func(t *testing.T) {
				t.Parallel()
				var stream []byte
				ends := []int{0}
				for _, frame := range [][]byte{
					encode(false, opBinary, masked, payload(n)), encode(true, opPing, masked, []byte("ping")),
					encode(true, 0, masked, payload(n)), encode(true, opClose, masked, payload(n%125)), encode(true, opText, masked, payload(1)),
				} {
					stream = append(stream, frame...)
					ends = append(ends, len(stream))
				}
				closeEnd := ends[4]
				for cut := range len(stream) + 1 {
					var f frames
					if got := f.advance(stream[:cut], false); got != cut {
						t.Fatalf("took %d of %d bytes", got, cut)
					}
					next, atEnd := slices.BinarySearch(ends, cut)
					if f.boundary() != atEnd || f.closed != (cut >= closeEnd) {
						t.Fatalf("after %d bytes: boundary %v, closed %v; frames end at %v, the close frame at %d", cut, f.boundary(), f.closed, ends, closeEnd)
					}
					if cut == len(stream) {
						break
					}
					if atEnd {
						next++
					}
					if got, want := f.advance(stream[cut:], true), ends[next]-cut; got != want || !f.boundary() {
						t.Fatalf("from byte %d it stopped after %d bytes, boundary %v; want %d", cut, got, f.boundary(), want)
					}
					f.advance(stream[ends[next]:], false)
					if !f.boundary() || !f.closed {
						t.Fatalf("cut at %d: boundary %v, closed %v at the end", cut, f.boundary(), f.closed)
					}
				}
			})
		}
	}
}

func TestOnlyAWholeCloseFrameCloses(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name   string
		stream []byte
		want   bool
	}{
		{"nothing", nil, false},
		{"a text frame", encode(true, opText, false, payload(10)), false},
		{"a ping", encode(true, opPing, true, nil), false},
		{"an empty close frame", encode(true, opClose, false, nil), true},
		{"an empty masked close frame", encode(true, opClose, true, nil), true},
		{"a close frame with a reason", encode(true, opClose, true, []byte("\x0f\xa1going")), true},
		{"a close frame without its last byte", encode(true, opClose, true, []byte("\x0f\xa1going"))[:12], false},
		{"the header of a close frame", encode(true, opClose, false, []byte{0x0f, 0xa1})[:2], false},
		{"a close frame inside a payload", encode(true, opBinary, false, encode(true, opClose, false, nil)), false},
		{"a frame behind the close frame", append(encode(true, opClose, false, nil), encode(true, opText, false, nil)...), true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			var f frames
			f.advance(tt.stream, false)
			if f.closed != tt.want {
				t.Errorf("closed is %v, want %v", f.closed, tt.want)
			}
		})
	}
}

func TestAnEndlessFrameIsFollowed(t *testing.T) {
	t.Parallel()
	for _, length := range []uint64{1 << 32, 1<<63 - 1, 1 << 63, 1<<64 - 1} {
		var f frames
		f.advance(binary.BigEndian.AppendUint64([]byte{0x82, 127}, length), false)
		for range 3 {
			if n := f.advance(make([]byte, 1000), true); n != 1000 || f.boundary() {
				t.Errorf("in a frame of %d bytes it stopped after %d of 1000, boundary %v", length, n, f.boundary())
			}
		}
		if want := length - 3000; f.left != want {
			t.Errorf("%d bytes left, want %d", f.left, want)
		}
	}
}

func TestACloseFrameIsOneFrame(t *testing.T) {
	t.Parallel()
	if diff := cmp.Diff(encode(true, opClose, false, []byte{0x03, 0xf4}), closeFrame(serviceRestart, false)); diff != "" {
		t.Errorf("1012 (-want +got):\n%s", diff)
	}
	masked := closeFrame(goingAway, true)
	if len(masked) != 8 || masked[0] != 0x88 || masked[1] != 0x82 {
		t.Fatalf("the masked frame is % x", masked)
	}
	code := binary.BigEndian.Uint16([]byte{masked[6] ^ masked[2], masked[7] ^ masked[3]})
	if code != 1001 {
		t.Errorf("unmasked, the code is %d, want 1001", code)
	}
	var f frames
	if f.advance(masked, false); !f.closed || !f.boundary() {
		t.Errorf("the follower does not see it as a whole close frame")
	}
}

// FuzzFrames holds the follower to what it promises of any bytes: how they are
// chopped does not matter, and with stop it finds the boundaries that a plain
// reading of the RFC finds, one by one.
func FuzzFrames(f *testing.F) {
	f.Add(encode(true, opText, true, payload(200)), []byte{1})
	f.Add(append(encode(true, opClose, false, nil), encode(false, opBinary, false, payload(70000))...), []byte{7, 200, 1})
	f.Add([]byte{0x82, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1, 2, 3, 4, 5}, []byte{3})
	f.Add([]byte{0, 0, 0, 0x88}, []byte{})
	f.Fuzz(func(t *testing.T, stream, sizes []byte) {
		ends, closed := boundaries(stream)

		var whole, chopped frames
		if n := whole.advance(stream, false); n != len(stream) {
			t.Fatalf("took %d of %d bytes", n, len(stream))
		}
		if whole.closed != closed {
			t.Errorf("closed is %v, want %v", whole.closed, closed)
		}
		for rest := stream; len(rest) > 0; {
			n := len(rest)
			if len(sizes) > 0 {
				n, sizes = min(n, int(sizes[0])), sizes[1:]
			}
			chopped.advance(rest[:n], false)
			rest = rest[n:]
		}
		// Bytes of headers that are done with do not count.
		clear(whole.header[whole.have:])
		clear(chopped.header[chopped.have:])
		if diff := cmp.Diff(whole, chopped, cmp.AllowUnexported(frames{})); diff != "" {
			t.Errorf("chopped, it ends elsewhere (-whole +chopped):\n%s", diff)
		}

		var stopping frames
		var stops []int
		for at := 0; at < len(stream); {
			n := stopping.advance(stream[at:], true)
			if n <= 0 || at+n > len(stream) || at+n < len(stream) && !stopping.boundary() {
				t.Fatalf("from byte %d of %d it stopped after %d, boundary %v", at, len(stream), n, stopping.boundary())
			}
			at += n
			if stopping.boundary() {
				stops = append(stops, at)
			}
		}
		if diff := cmp.Diff(ends, stops); diff != "" {
			t.Errorf("boundaries (-want +got):\n%s", diff)
		}
	})
}

// boundaries reads the frames of stream in the plainest way: where each ends,
// and whether one is a close frame.
func boundaries(stream []byte) (ends []int, closed bool) {
	for at := 0; ; {
		rest := stream[at:]
		if len(rest) < 2 {
			return ends, closed
		}
		header, length := 2, uint64(rest[1]&0x7f)
		switch length {
		case 126:
			header = 4
		case 127:
			header = 10
		}
		if len(rest) < header {
			return ends, closed
		}
		switch header {
		case 4:
			length = uint64(binary.BigEndian.Uint16(rest[2:]))
		case 10:
			length = binary.BigEndian.Uint64(rest[2:])
		}
		if rest[1]&0x80 != 0 {
			header += 4
		}
		if len(rest) < header || uint64(len(rest)-header) < length {
			return ends, closed
		}
		closed = closed || rest[0]&0xf == opClose
		at += header + int(length)
		ends = append(ends, at)
	}
}
