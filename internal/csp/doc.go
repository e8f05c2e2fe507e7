// Package csp reads and amends Content-Security-Policy headers, as far as a
// proxy needs it: who may frame a document, and whether the document may load
// one more script of its own host.
//
// It works on the values of the header as they were sent. A value holds
// policies separated by commas, a policy holds directives separated by
// semicolons (CSP Level 3 section 2.2). What is not amended keeps its bytes.
// Functions are pure.
package csp
