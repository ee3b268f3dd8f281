// Bytes of go-libp2p for p2pnode's tests, and go-libp2p's judgement of p2pnode's bytes.
//
//	go run . emit > ../fixtures/go_libp2p.json    what go-libp2p says and signs
//	go run . autonat > ../fixtures/go_libp2p_autonat.json   its AutoNAT messages
//	go run . verify < ours.json                   what go-libp2p reads in what we say and sign
//
// RSA and ECDSA keys and signatures differ from run to run; everything made with the Ed25519 key,
// and the secp256k1 key, comes out the same, but for the ports in the identify messages.
package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"os"
	"time"

	"github.com/libp2p/go-libp2p"
	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"
	"github.com/libp2p/go-libp2p/core/record"
	identify "github.com/libp2p/go-libp2p/p2p/protocol/identify/pb"
	ma "github.com/multiformats/go-multiaddr"
	"github.com/multiformats/go-multistream"
	"github.com/multiformats/go-varint"
	"google.golang.org/protobuf/proto"
)

const (
	seed      = "p2pnode interop fixtures, seed 1"
	message   = "signed by go-libp2p"
	recordSeq = 1735689600000000001
	agent     = "go-fixture/1.0"
	idRequest = "/ipfs/id/1.0.0"
)

type fields = map[string]any

func main() {
	log.SetFlags(0)
	if len(os.Args) != 2 {
		log.Fatal("usage: emit | autonat | verify")
	}
	var out fields
	switch os.Args[1] {
	case "emit":
		out = fields{
			"keys": keys(), "records": records(), "multiaddrs": multiaddrs(),
			"identify_small": identifyOf(3), "identify_split": identifyOf(120),
			"multistream": []fields{
				negotiation([]string{"/ipfs/ping/1.0.0"}, []string{"/ipfs/ping/1.0.0"}),
				negotiation([]string{"/x/2", "/x/1"}, []string{"/x/1", "/y/1"}),
				negotiation([]string{"/x/2", "/x/3"}, []string{"/x/1"}),
			},
		}
	case "autonat":
		out = autonatMessages()
	case "verify":
		out = verify(os.Stdin)
	default:
		log.Fatal("usage: emit | autonat | verify")
	}
	encoder := json.NewEncoder(os.Stdout)
	encoder.SetIndent("", "  ")
	must0(encoder.Encode(out))
}

func must[T any](value T, err error) T {
	if err != nil {
		log.Fatal(err)
	}
	return value
}

func must0(err error) {
	if err != nil {
		log.Fatal(err)
	}
}

func ed25519Key() crypto.PrivKey {
	key, _, err := crypto.GenerateEd25519Key(bytes.NewReader([]byte(seed)))
	return must(key, err)
}

func keys() []fields {
	scalar := sha256.Sum256([]byte(seed))
	generate := func(kind, bits int) crypto.PrivKey {
		key, _, err := crypto.GenerateKeyPair(kind, bits)
		return must(key, err)
	}
	var out []fields
	for _, key := range []crypto.PrivKey{
		ed25519Key(),
		must(crypto.UnmarshalSecp256k1PrivateKey(scalar[:])),
		generate(crypto.ECDSA, 0),
		generate(crypto.RSA, 2048),
		generate(crypto.RSA, 4096),
	} {
		id := must(peer.IDFromPrivateKey(key))
		out = append(out, fields{
			"type":      key.Type().String(),
			"private":   hex.EncodeToString(must(crypto.MarshalPrivateKey(key))),
			"public":    hex.EncodeToString(must(crypto.MarshalPublicKey(key.GetPublic()))),
			"peer_id":   id.String(),
			"cid":       peer.ToCid(id).String(),
			"multihash": hex.EncodeToString([]byte(id)),
			"message":   message,
			"signature": hex.EncodeToString(must(key.Sign([]byte(message)))),
		})
	}
	return out
}

// legacyRecord is signed as RFC 0003 says, which rust-libp2p does by default.
type legacyRecord struct{ peer.PeerRecord }

func (legacyRecord) Domain() string { return "libp2p-routing-state" }
func (legacyRecord) Codec() []byte  { return []byte("/libp2p/routing-state-record") }

func records() []fields {
	key := ed25519Key()
	id := must(peer.IDFromPrivateKey(key))
	addrs := []string{
		"/ip4/1.2.3.4/udp/4001/noise",
		"/ip6/2a00:1450:4001::1/udp/4001/quic-v1",
		"/dns4/relay.example.com/tcp/4001/p2p/" + id.String() + "/p2p-circuit",
	}
	rec := peer.PeerRecord{PeerID: id, Seq: recordSeq}
	for _, addr := range addrs {
		rec.Addrs = append(rec.Addrs, ma.StringCast(addr))
	}
	stranger := rec
	stranger.PeerID = must(peer.IDFromPrivateKey(must(other())))
	var out []fields
	for _, r := range []struct {
		name   string
		record record.Record
	}{{"current", &rec}, {"legacy", &legacyRecord{rec}}, {"of another peer", &stranger}} {
		envelope := must(record.Seal(r.record, key))
		out = append(out, fields{
			"name": r.name, "signer": id.String(), "seq": fmt.Sprint(rec.Seq), "addrs": addrs,
			"envelope": hex.EncodeToString(must(envelope.Marshal())),
		})
	}
	return out
}

func other() (crypto.PrivKey, error) {
	key, _, err := crypto.GenerateEd25519Key(bytes.NewReader([]byte(seed[1:] + seed)))
	return key, err
}

func multiaddrs() []fields {
	id := must(peer.IDFromPrivateKey(ed25519Key())).String()
	var out []fields
	for _, text := range []string{
		"/ip4/1.2.3.4/udp/4001/noise",
		"/ip4/1.2.3.4/udp/4001/noise/p2p/" + id,
		"/ip6/2a00:1450:4001::1/udp/65535/noise",
		"/ip6zone/eth0/ip6/fe80::1/udp/4001/noise",
		"/dns/example.com/udp/4001/noise",
		"/dns4/example.com/tcp/4001/noise",
		"/dns6/example.com/tcp/443/wss",
		"/dnsaddr/bootstrap.libp2p.io",
		"/ip4/1.2.3.4/udp/4001/quic-v1/p2p/" + id + "/p2p-circuit/p2p/" + id,
		"/ip4/1.2.3.4/tcp/443/tls/sni/example.com/ws",
		"/ip4/1.2.3.4/udp/4001/webrtc-direct/certhash/uEiDikp5KVUgkLta1EjUN-IKbHk-dUBg8VzKgf5nXxLK46w",
		"/ip4/1.2.3.4/udp/4001/quic-v1/webtransport",
	} {
		addr := must(ma.NewMultiaddr(text))
		out = append(out, fields{"text": addr.String(), "bytes": hex.EncodeToString(addr.Bytes())})
	}
	return out
}

// identifyOf records what a go-libp2p host with so many protocols answers to identify.
func identifyOf(protocols int) fields {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	host := must(libp2p.New(
		libp2p.Identity(ed25519Key()), libp2p.UserAgent(agent), libp2p.DisableMetrics(),
		libp2p.ListenAddrStrings("/ip4/127.0.0.1/tcp/0", "/ip4/127.0.0.1/udp/0/quic-v1"),
	))
	defer host.Close()
	for i := range protocols {
		id := protocol.ID(fmt.Sprintf("/fixture/protocol-%03d/1.0.0", i))
		host.SetStreamHandler(id, func(s network.Stream) { s.Close() })
	}
	client := must(libp2p.New(libp2p.NoListenAddrs, libp2p.DisableMetrics()))
	defer client.Close()
	must0(client.Connect(ctx, peer.AddrInfo{ID: host.ID(), Addrs: host.Addrs()[:1]}))
	stream := must(client.NewStream(ctx, host.ID(), idRequest))
	data := must(io.ReadAll(stream))
	return describe(data, host.ID())
}

func describe(data []byte, id peer.ID) fields {
	merged := &identify.Identify{}
	messages := 0
	for rest := data; len(rest) > 0; messages++ {
		size, n, err := varint.FromUvarint(rest)
		must0(err)
		var part identify.Identify
		must0(proto.Unmarshal(rest[n:n+int(size)], &part))
		proto.Merge(merged, &part)
		rest = rest[n+int(size):]
	}
	addrs := []string{}
	for _, raw := range merged.ListenAddrs {
		addrs = append(addrs, must(ma.NewMultiaddrBytes(raw)).String())
	}
	out := fields{
		"frames": hex.EncodeToString(data), "messages": messages, "peer_id": id.String(),
		"public_key": hex.EncodeToString(merged.PublicKey), "listen_addrs": addrs,
		"protocols": merged.Protocols, "agent_version": merged.GetAgentVersion(),
		"protocol_version": merged.GetProtocolVersion(), "observed_addr": "",
		"signed_peer_record": hex.EncodeToString(merged.SignedPeerRecord),
	}
	if merged.ObservedAddr != nil {
		out["observed_addr"] = must(ma.NewMultiaddrBytes(merged.ObservedAddr)).String()
	}
	return out
}

// tap keeps what one side writes.
type tap struct {
	net.Conn
	written bytes.Buffer
}

func (t *tap) Write(data []byte) (int, error) {
	t.written.Write(data)
	return t.Conn.Write(data)
}

func negotiation(proposed, supported []string) fields {
	listener := must(net.Listen("tcp", "127.0.0.1:0"))
	defer listener.Close()
	opened := must(net.Dial("tcp", listener.Addr().String()))
	ours, theirs := &tap{Conn: opened}, &tap{Conn: must(listener.Accept())}
	done := make(chan struct{})
	go func() {
		muxer := multistream.NewMultistreamMuxer[string]()
		for _, id := range supported {
			muxer.AddHandler(id, nil)
		}
		_, _, err := muxer.Negotiate(theirs)
		if err != nil && !errors.Is(err, io.EOF) {
			log.Print(err)
		}
		close(done)
	}()
	agreed, _ := multistream.SelectOneOf(proposed, ours)
	ours.Close()
	<-done
	return fields{
		"proposed": proposed, "supported": supported, "agreed": agreed,
		"initiator": hex.EncodeToString(ours.written.Bytes()),
		"responder": hex.EncodeToString(theirs.written.Bytes()),
	}
}

// verify reads what p2pnode made, checks it as go-libp2p does, and says what it found.
func verify(input io.Reader) fields {
	var given struct {
		PrivateKey, PublicKey, Message, Signature, Envelope, Identify string
	}
	must0(json.NewDecoder(input).Decode(&given))
	raw := func(text string) []byte { return must(hex.DecodeString(text)) }
	private := must(crypto.UnmarshalPrivateKey(raw(given.PrivateKey)))
	public := must(crypto.UnmarshalPublicKey(raw(given.PublicKey)))
	id := must(peer.IDFromPublicKey(public))
	var rec peer.PeerRecord
	envelope := must(record.ConsumeTypedEnvelope(raw(given.Envelope), &rec))
	addrs := []string{}
	for _, addr := range rec.Addrs {
		addrs = append(addrs, addr.String())
	}
	return fields{
		"peer_id":       id.String(),
		"keys_match":    private.GetPublic().Equals(public),
		"signature_ok":  must(public.Verify([]byte(given.Message), raw(given.Signature))),
		"record_peer":   rec.PeerID.String(),
		"record_signer": must(peer.IDFromPublicKey(envelope.PublicKey)).String(),
		"record_seq":    fmt.Sprint(rec.Seq),
		"record_addrs":  addrs,
		"identify":      describe(raw(given.Identify), id),
	}
}
