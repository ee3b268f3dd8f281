"""A network in virtual time: hosts, links, routers, NAT boxes and firewalls that follow one seed.

It drives any `DatagramMachine` and knows no protocol.  The rule it keeps: the same parameters and
the same seed give the same bytes.  Specified in specs/netsim.md.

    packet part          what travels, and the one interface of everything that a packet meets
    world host stack     virtual time, and the machines that live in it
    contract link_rules  what a machine and its driver owe each other, watched
    link router          delay, loss, queues; prefixes and hop limits
    way pipe link_end   ordered byte links: who may connect to whom, and what arrives when
    nat_* port_pool      NAT boxes in the terms of RFC 4787
    firewall udp_block   filters that do not translate
    trace pcap mermaid   what happened, as records, as a capture and as a picture
    topology             common networks in one line
"""
