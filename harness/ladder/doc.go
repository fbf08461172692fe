// Package ladder takes one server up to very many connections, step by step: the
// server grows, load generators come on top of those that hold already, and at each
// step its memory is read while some of the sessions are pushed to.
//
//	step 1: idle load 1 ----------------------------------------> ... stays
//	        sample: connects, held, is pushed to, leaves
//	step 2: idle load 2 ---------------> ... stays
//	        sample: connects, held, is pushed to, leaves
//	end:    every connection that stayed answers one more ping
//
// A server that does not get to the top is a result too: how far, and what ended it.
// What happens is told as events, since who listens may be outside of the machine
// that it happens on. The package decides nothing about machines and variants.
package ladder
