// Package capture reads the TCP packets of a pcap or pcapng file.
package capture
