package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"time"
)

// maxBody bounds what the client reads of one answer.
const maxBody = 1 << 20

// conn is one kept-alive HTTP/1.1 connection that sends requests made
// beforehand and reads as little of the answers as it can.
type conn struct {
	net.Conn
	r    *bufio.Reader
	body []byte // of the last answer
}

func dial(ctx context.Context, addr string) (*conn, error) {
	c, err := (&net.Dialer{Timeout: 5 * time.Second}).DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	return &conn{Conn: c, r: bufio.NewReaderSize(c, 4096)}, nil
}

// do sends a request and reads its answer. The body is valid until the next do.
func (c *conn) do(request []byte) (status int, body []byte, err error) {
	return c.doKeeping(request, nil)
}

// doKeeping is do for answers that say in a header what others say in their
// body: its line, name and all, is put before the body.
func (c *conn) doKeeping(request, header []byte) (status int, body []byte, err error) {
	if _, err := c.Write(request); err != nil {
		return 0, nil, err
	}
	status, c.body, err = readAnswer(c.r, c.body[:0], header)
	return status, c.body, err
}

var contentLength = []byte("content-length:")

// readAnswer reads one answer that says its length, and appends its body to
// buf, and before that the line of the header keep, a name with its colon, where
// one is given. Of the headers it looks at nothing else.
func readAnswer(r *bufio.Reader, buf, keep []byte) (status int, body []byte, err error) {
	line, err := r.ReadSlice('\n')
	if err != nil {
		return 0, buf, fmt.Errorf("status line: %w", err)
	}
	if status, err = parseStatus(line); err != nil {
		return 0, buf, err
	}
	length := -1
	for {
		if line, err = r.ReadSlice('\n'); err != nil {
			return 0, buf, fmt.Errorf("headers: %w", err)
		}
		line = bytes.TrimRight(line, "\r\n")
		if len(line) == 0 {
			break
		}
		if len(keep) > 0 && bytes.HasPrefix(line, keep) {
			buf = append(buf, line...)
		}
		if len(line) > len(contentLength) && (line[0] == 'C' || line[0] == 'c') && bytes.EqualFold(line[:len(contentLength)], contentLength) {
			if length, err = strconv.Atoi(string(bytes.TrimSpace(line[len(contentLength):]))); err != nil {
				return 0, buf, fmt.Errorf("Content-Length: %w", err)
			}
		}
	}
	if length < 0 || length > maxBody {
		return 0, buf, errors.New("answer without a usable Content-Length")
	}
	for length > 0 {
		chunk, err := r.Peek(min(length, r.Size()))
		if err != nil {
			return 0, buf, fmt.Errorf("body: %w", noEOF(err))
		}
		buf = append(buf, chunk...)
		length -= len(chunk)
		if _, err := r.Discard(len(chunk)); err != nil {
			return 0, buf, err
		}
	}
	return status, buf, nil
}

func noEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// parseStatus reads "HTTP/1.1 200 OK".
func parseStatus(line []byte) (int, error) {
	if len(line) < len("HTTP/1.1 200") || !bytes.HasPrefix(line, []byte("HTTP/1.")) || line[8] != ' ' {
		return 0, fmt.Errorf("not an HTTP/1 answer: %.40q", line)
	}
	status := 0
	for _, c := range line[9:12] {
		if c < '0' || c > '9' {
			return 0, fmt.Errorf("not an HTTP/1 answer: %.40q", line)
		}
		status = status*10 + int(c-'0')
	}
	return status, nil
}

// get makes a request with a token; "" for none.
func get(path, token string) []byte {
	r := "GET " + path + " HTTP/1.1\r\nHost: bench\r\nUser-Agent: propusk-bench\r\nAccept: application/json\r\n"
	if token != "" {
		r += "Authorization: Bearer " + token + "\r\n"
	}
	return []byte(r + "\r\n")
}

// post makes a request with a JSON body.
func post(path string, body []byte) []byte {
	r := "POST " + path + " HTTP/1.1\r\nHost: bench\r\nUser-Agent: propusk-bench\r\nAccept: application/json\r\n" +
		"Content-Type: application/json\r\nContent-Length: " + strconv.Itoa(len(body)) + "\r\n\r\n"
	return append([]byte(r), body...)
}
