// The peer on go-libp2p: specs/interop.md has its command line, its commands and its protocols.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"log"
	"os"
	"time"

	"github.com/libp2p/go-libp2p"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	quic "github.com/libp2p/go-libp2p/p2p/transport/quic"
	"github.com/libp2p/go-libp2p/p2p/transport/tcp"
)

const commandTimeout = 30 * time.Second

type fields = map[string]any

// command is a line of standard input.
type command struct {
	Do      string
	Addr    string
	ID      string
	Bytes   int
	Streams int
}

func main() {
	log.SetFlags(0)
	node, err := newNode()
	if err != nil {
		log.Fatal(err)
	}
	served := serve(node)
	var addrs []string
	for _, addr := range node.Addrs() {
		addrs = append(addrs, fmt.Sprintf("%s/p2p/%s", addr, node.ID()))
	}
	say(fields{"id": node.ID().String(), "addrs": addrs})

	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		answer, err := obey(node, served, lines.Bytes())
		if err != nil {
			answer = fields{"error": err.Error()}
		}
		say(answer)
	}
}

func newNode() (host.Host, error) {
	transport := flag.String("transport", "tcp", "tcp or quic-v1")
	ip := flag.String("ip", "127.0.0.1", "where to listen")
	relay := flag.Bool("relay", false, "relays for others")
	autonat := flag.Bool("autonat", false, "asks and answers AutoNAT")
	warm := flag.Bool("warm", false, "dials over UDP before a hundred dials have shown that it works")
	flag.Parse()

	var options []libp2p.Option
	switch *transport {
	case "tcp":
		options = append(options,
			libp2p.ListenAddrStrings(fmt.Sprintf("/ip4/%s/tcp/0", *ip)),
			libp2p.Transport(tcp.NewTCPTransport))
	case "quic-v1":
		options = append(options,
			libp2p.ListenAddrStrings(fmt.Sprintf("/ip4/%s/udp/0/quic-v1", *ip)),
			libp2p.Transport(quic.NewTransport))
	default:
		return nil, fmt.Errorf("no transport %q", *transport)
	}
	if *relay {
		options = append(options, libp2p.EnableRelayService(), libp2p.ForceReachabilityPublic())
	}
	if *autonat {
		options = append(options, libp2p.EnableAutoNATv2(), libp2p.EnableNATService())
	}
	if *warm {
		options = append(options, libp2p.UDPBlackHoleSuccessCounter(nil))
	}
	return libp2p.New(options...)
}

func obey(node host.Host, served *counts, line []byte) (fields, error) {
	var c command
	if err := json.Unmarshal(line, &c); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), commandTimeout)
	defer cancel()
	ctx = network.WithAllowLimitedConn(ctx, "judge")
	switch c.Do {
	case "dial":
		to, err := peer.AddrInfoFromString(c.Addr)
		if err != nil {
			return nil, err
		}
		return fields{"id": to.ID.String()}, node.Connect(ctx, *to)
	case "served":
		return served.report(), nil
	}
	to, err := peer.Decode(c.ID)
	if err != nil {
		return nil, err
	}
	return ask(ctx, node, to, c)
}

func say(answer fields) {
	line, err := json.Marshal(answer)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(string(line))
}
