package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"
	"github.com/libp2p/go-libp2p/p2p/protocol/identify"
	"github.com/libp2p/go-libp2p/p2p/protocol/ping"
)

// ask runs one command that needs a connection to peer `to`.
func ask(ctx context.Context, node host.Host, to peer.ID, c command) (fields, error) {
	switch c.Do {
	case "identify":
		return identified(ctx, node, to)
	case "ping":
		result := <-ping.Ping(ctx, node, to)
		return fields{"rtt": result.RTT.Seconds()}, result.Error
	case "close":
		return fields{}, node.Network().ClosePeer(to)
	case "connections":
		return fields{"connections": len(node.Network().ConnsToPeer(to))}, nil
	case "echo":
		return echo(ctx, node, to, c.Bytes)
	case "send":
		return send(ctx, node, to, takeProtocol, c.Bytes)
	case "send-late":
		return send(ctx, node, to, lateProtocol, c.Bytes)
	case "receive":
		return receive(ctx, node, to, c.Bytes)
	case "many":
		return many(ctx, node, to, c.Streams, c.Bytes)
	case "half-close":
		return halfClose(ctx, node, to, c.Bytes)
	case "reset":
		return reset(ctx, node, to)
	case "be-reset":
		return beReset(ctx, node, to)
	}
	return nil, fmt.Errorf("no command %q", c.Do)
}

func identified(ctx context.Context, node host.Host, to peer.ID) (fields, error) {
	conns := node.Network().ConnsToPeer(to)
	if len(conns) == 0 {
		return nil, errors.New("no connection")
	}
	ids, ok := node.(interface{ IDService() identify.IDService })
	if !ok {
		return nil, errors.New("this host has no identify")
	}
	select {
	case <-ids.IDService().IdentifyWait(conns[0]):
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	book := node.Peerstore()
	agent, err := book.Get(to, "AgentVersion")
	if err != nil {
		return nil, err
	}
	protocols, err := book.GetProtocols(to)
	if err != nil {
		return nil, err
	}
	var addrs []string
	for _, addr := range book.Addrs(to) {
		addrs = append(addrs, addr.String())
	}
	return fields{"agent": agent, "protocols": protocols, "addrs": addrs}, nil
}

// onStream runs work on a new stream, which is reset where that fails or takes too long. It is only
// closed otherwise: a reset would take back what QUIC has not delivered yet.
func onStream(ctx context.Context, node host.Host, to peer.ID, id protocol.ID, work func(network.Stream) error) error {
	s, err := node.NewStream(ctx, to, id)
	if err != nil {
		return err
	}
	defer context.AfterFunc(ctx, func() { s.Reset() })()
	if err := work(s); err != nil {
		s.Reset()
		return err
	}
	s.Close() // an error says that the stream is over already
	return nil
}

func echo(ctx context.Context, node host.Host, to peer.ID, size int) (answer fields, err error) {
	err = onStream(ctx, node, to, echoProtocol, func(s network.Stream) error {
		failed := make(chan error, 1)
		go func() {
			_, err := s.Write(pattern(size))
			failed <- errors.Join(err, s.CloseWrite())
		}()
		back, digest, err := digestOf(s)
		answer = digested(back, digest)
		return errors.Join(err, <-failed)
	})
	return answer, err
}

func send(ctx context.Context, node host.Host, to peer.ID, id protocol.ID, size int) (answer fields, err error) {
	err = onStream(ctx, node, to, id, func(s network.Stream) error {
		if _, err := s.Write(pattern(size)); err != nil {
			return err
		}
		if err := s.CloseWrite(); err != nil {
			return err
		}
		said, err := io.ReadAll(io.LimitReader(s, 8+sha256.Size+1))
		if err != nil {
			return err
		}
		if len(said) != 8+sha256.Size {
			return fmt.Errorf("%d bytes of an answer", len(said))
		}
		answer = digested(int64(binary.BigEndian.Uint64(said)), said[8:])
		return nil
	})
	return answer, err
}

func receive(ctx context.Context, node host.Host, to peer.ID, size int) (answer fields, err error) {
	err = onStream(ctx, node, to, giveProtocol, func(s network.Stream) error {
		if err := binary.Write(s, binary.BigEndian, uint64(size)); err != nil {
			return err
		}
		if err := s.CloseWrite(); err != nil {
			return err
		}
		came, digest, err := digestOf(s)
		answer = digested(came, digest)
		return err
	})
	return answer, err
}

// many has all its streams open and echoing before the first of them is closed.
func many(ctx context.Context, node host.Host, to peer.ID, streams, size int) (fields, error) {
	data, results := pattern(size), make(chan error, streams)
	var echoed sync.WaitGroup
	echoed.Add(streams)
	one := func() error {
		arrived := sync.OnceFunc(echoed.Done)
		defer arrived()
		return onStream(ctx, node, to, echoProtocol, func(s network.Stream) error {
			if err := exchange(s, data); err != nil {
				return err
			}
			arrived()
			echoed.Wait()
			if err := s.CloseWrite(); err != nil {
				return err
			}
			rest, _, err := digestOf(s)
			if rest > 0 {
				return errors.New("more came than was sent")
			}
			return err
		})
	}
	for range streams {
		go func() { results <- one() }()
	}
	var failed error
	for range streams {
		failed = errors.Join(failed, <-results)
	}
	return fields{"streams": streams}, failed
}

func exchange(s network.Stream, data []byte) error {
	if _, err := s.Write(data); err != nil {
		return err
	}
	back := make([]byte, len(data))
	if _, err := io.ReadFull(s, back); err != nil {
		return err
	}
	if !bytes.Equal(back, data) {
		return errors.New("another echo than was sent")
	}
	return nil
}

// halfClose goes on sending after the other end has closed its direction.
func halfClose(ctx context.Context, node host.Host, to peer.ID, size int) (fields, error) {
	return fields{}, onStream(ctx, node, to, hushProtocol, func(s network.Stream) error {
		if came, _, err := digestOf(s); err != nil || came > 0 {
			return fmt.Errorf("%d bytes came: %w", came, err)
		}
		if _, err := s.Write(pattern(size)); err != nil {
			return err
		}
		return s.CloseWrite()
	})
}

func reset(ctx context.Context, node host.Host, to peer.ID) (fields, error) {
	return fields{}, onStream(ctx, node, to, echoProtocol, func(s network.Stream) error {
		if err := exchange(s, pattern(1)); err != nil {
			return err
		}
		return s.Reset()
	})
}

func beReset(ctx context.Context, node host.Host, to peer.ID) (answer fields, err error) {
	err = onStream(ctx, node, to, resetProtocol, func(s network.Stream) error {
		if _, err := s.Write(pattern(1)); err != nil {
			return err
		}
		_, err := s.Read(make([]byte, 1))
		answer = fields{"reset": errors.Is(err, network.ErrReset)}
		return ctx.Err()
	})
	return answer, err
}

// digestOf reads to the end.
func digestOf(r io.Reader) (int64, []byte, error) {
	digest := sha256.New()
	size, err := io.Copy(digest, r)
	return size, digest.Sum(nil), err
}

func digested(size int64, digest []byte) fields {
	return fields{"bytes": size, "sha256": hex.EncodeToString(digest)}
}
