// Package nft is the nf_tables backend: it keeps the table "inet ftpinhole",
// whose rules queue control packets, and mark and translate the data connections
// that a pinhole lets in. It speaks netlink only.
package nft
