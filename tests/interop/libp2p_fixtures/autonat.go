package main

import (
	"encoding/hex"

	autonat "github.com/libp2p/go-libp2p/p2p/host/autonat/pb"
	autonatv2 "github.com/libp2p/go-libp2p/p2p/protocol/autonatv2/pb"

	"github.com/libp2p/go-libp2p/core/peer"
	ma "github.com/multiformats/go-multiaddr"
	"google.golang.org/protobuf/proto"
)

// autonatMessages are AutoNAT's messages as go-libp2p's protobufs write them, without lengths.
func autonatMessages() fields {
	id := must(peer.IDFromPrivateKey(ed25519Key()))
	addrs := [][]byte{
		ma.StringCast("/ip4/1.2.3.4/udp/4001/noise").Bytes(),
		ma.StringCast("/ip6/2a00:1450:4001::1/udp/4001/quic-v1").Bytes(),
	}
	raw := func(message proto.Message) string { return hex.EncodeToString(must(proto.Marshal(message))) }
	response := func(status autonat.Message_ResponseStatus, text *string, addr []byte) string {
		return raw(&autonat.Message{
			Type: autonat.Message_DIAL_RESPONSE.Enum(),
			DialResponse: &autonat.Message_DialResponse{
				Status: status.Enum(), StatusText: text, Addr: addr,
			},
		})
	}
	v2 := func(response *autonatv2.DialResponse) string {
		return raw(&autonatv2.Message{Msg: &autonatv2.Message_DialResponse{DialResponse: response}})
	}
	return fields{
		"peer_id": id.String(),
		"v1_dial": raw(&autonat.Message{
			Type: autonat.Message_DIAL.Enum(),
			Dial: &autonat.Message_Dial{
				Peer: &autonat.Message_PeerInfo{Id: []byte(id), Addrs: addrs},
			},
		}),
		"v1_ok":      response(autonat.Message_OK, nil, addrs[0]),
		"v1_refused": response(autonat.Message_E_DIAL_REFUSED, proto.String("refused"), nil),
		"v2_request": raw(&autonatv2.Message{Msg: &autonatv2.Message_DialRequest{
			DialRequest: &autonatv2.DialRequest{Addrs: addrs, Nonce: 0x0102030405060708},
		}}),
		"v2_ok": v2(&autonatv2.DialResponse{
			Status: autonatv2.DialResponse_OK, AddrIdx: 1, DialStatus: autonatv2.DialStatus_OK,
		}),
		"v2_rejected": v2(&autonatv2.DialResponse{Status: autonatv2.DialResponse_E_REQUEST_REJECTED}),
		"v2_zeros":    v2(&autonatv2.DialResponse{}),
		"v2_data_request": raw(&autonatv2.Message{Msg: &autonatv2.Message_DialDataRequest{
			DialDataRequest: &autonatv2.DialDataRequest{AddrIdx: 1, NumBytes: 30_000},
		}}),
		"v2_data": raw(&autonatv2.Message{Msg: &autonatv2.Message_DialDataResponse{
			DialDataResponse: &autonatv2.DialDataResponse{Data: []byte("some data")},
		}}),
		"v2_dial_back":          raw(&autonatv2.DialBack{Nonce: 0x0102030405060708}),
		"v2_dial_back_response": raw(&autonatv2.DialBackResponse{}),
	}
}
