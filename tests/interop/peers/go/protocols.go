package main

import (
	"encoding/binary"
	"io"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/protocol"
)

const (
	echoProtocol  protocol.ID = "/p2pnode/judge/echo/1.0.0"
	lateProtocol  protocol.ID = "/p2pnode/judge/late/1.0.0"
	takeProtocol  protocol.ID = "/p2pnode/judge/take/1.0.0"
	giveProtocol  protocol.ID = "/p2pnode/judge/give/1.0.0"
	hushProtocol  protocol.ID = "/p2pnode/judge/hush/1.0.0"
	resetProtocol protocol.ID = "/p2pnode/judge/reset/1.0.0"

	late = time.Second // before what was sent is read

	period = 251 // of the pattern: a prime, so that no piece of it can be mistaken for another
)

// counts says how the streams ended that others opened.
type counts struct {
	mutex                sync.Mutex
	ended, reset, hushed int
}

func (c *counts) report() fields {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	return fields{"ended": c.ended, "reset": c.reset, "hushed": c.hushed}
}

func serve(node host.Host) *counts {
	served := &counts{}
	handle := func(id protocol.ID, handler func(network.Stream) (int, error)) {
		node.SetStreamHandler(id, func(s network.Stream) {
			hushed, err := handler(s)
			served.mutex.Lock()
			served.hushed += hushed
			if err != nil {
				served.reset++
			} else {
				served.ended++
			}
			served.mutex.Unlock()
			if err != nil {
				s.Reset()
				return
			}
			s.Close()
		})
	}
	handle(echoProtocol, func(s network.Stream) (int, error) {
		_, err := io.Copy(s, s)
		return 0, err
	})
	take := func(s network.Stream) (int, error) {
		size, digest, err := digestOf(s)
		if err != nil {
			return 0, err
		}
		_, err = s.Write(append(binary.BigEndian.AppendUint64(nil, uint64(size)), digest...))
		return 0, err
	}
	handle(takeProtocol, take)
	handle(lateProtocol, func(s network.Stream) (int, error) {
		time.Sleep(late)
		return take(s)
	})
	handle(giveProtocol, func(s network.Stream) (int, error) {
		var size uint64
		if err := binary.Read(s, binary.BigEndian, &size); err != nil {
			return 0, err
		}
		_, err := s.Write(pattern(int(size)))
		return 0, err
	})
	handle(hushProtocol, func(s network.Stream) (int, error) {
		if err := s.CloseWrite(); err != nil {
			return 0, err
		}
		size, _, err := digestOf(s)
		return int(size), err
	})
	node.SetStreamHandler(resetProtocol, func(s network.Stream) {
		io.ReadFull(s, make([]byte, 1))
		s.Reset()
	})
	return served
}

func pattern(size int) []byte {
	data := make([]byte, size)
	for i := range data {
		data[i] = byte(i % period)
	}
	return data
}
