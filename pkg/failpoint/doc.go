// Package failpoint names the places at which tests end the daemon: between two steps
// whose order decides what is lost or repeated. Only a program that is built with the tag
// failpoints has them; in any other one Hit is empty, and calls of it are not compiled.
package failpoint
