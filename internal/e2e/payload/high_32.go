//go:build 386

package main

const highBit = 0
