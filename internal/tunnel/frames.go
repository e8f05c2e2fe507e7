package tunnel

import "encoding/binary"

// maxFrameHeader is the longest frame header: two bytes, eight of length, four
// of mask (RFC 6455 section 5.2).
const maxFrameHeader = 14

// opClose is the opcode of a close frame.
const opClose = 0x8

// frames follows the frame boundaries of one direction of a WebSocket. It
// keeps no payload and checks none: what the ends make of the bytes is theirs.
type frames struct {
	header  [maxFrameHeader]byte
	have    int    // bytes of an unfinished header
	left    uint64 // payload bytes still to come
	closing bool   // the present frame is a close frame
	closed  bool   // a whole close frame has passed
}

// boundary tells that the next byte begins a frame.
func (f *frames) boundary() bool { return f.have == 0 && f.left == 0 }

// advance follows p to its end and returns len(p); with stop, it returns at
// the first boundary how many bytes lead there.
func (f *frames) advance(p []byte, stop bool) int {
	for i := 0; i < len(p); {
		if f.left > 0 {
			n := len(p) - i
			if uint64(n) > f.left {
				n = int(f.left) //nolint:gosec // smaller than n
			}
			i += n
			f.left -= uint64(n) //nolint:gosec // n is positive
		} else {
			f.header[f.have] = p[i]
			f.have++
			i++
			if f.have < 2 || f.have < f.headerSize() {
				continue
			}
			f.left = f.payload()
			f.closing = f.header[0]&0xf == opClose
			f.have = 0
		}
		if f.left == 0 {
			f.closed = f.closed || f.closing
			f.closing = false
			if stop {
				return i
			}
		}
	}
	return len(p)
}

// headerSize is the whole header's size, told by its first two bytes.
func (f *frames) headerSize() int {
	size := 2
	switch f.header[1] & 0x7f {
	case 126:
		size += 2
	case 127:
		size += 8
	}
	if f.header[1]&0x80 != 0 {
		size += 4
	}
	return size
}

func (f *frames) payload() uint64 {
	switch n := f.header[1] & 0x7f; n {
	case 126:
		return uint64(binary.BigEndian.Uint16(f.header[2:]))
	case 127:
		return binary.BigEndian.Uint64(f.header[2:])
	default:
		return uint64(n)
	}
}

// Status codes of a close frame (RFC 6455 section 7.4.1 and the IANA registry).
const (
	goingAway      = 1001
	serviceRestart = 1012
)

// closeFrame is a close frame with a status code. A client masks what it sends
// (RFC 6455 section 5.3); the mask protects naive intermediaries from payloads
// that scripts choose, which two fixed bytes are not, so it is constant.
func closeFrame(code uint16, masked bool) []byte {
	payload := binary.BigEndian.AppendUint16(nil, code)
	if !masked {
		return append([]byte{0x80 | opClose, 2}, payload...)
	}
	mask := [4]byte{0x6d, 0x75, 0x78, 0x21}
	return append([]byte{0x80 | opClose, 0x80 | 2, mask[0], mask[1], mask[2], mask[3]},
		payload[0]^mask[0], payload[1]^mask[1])
}
