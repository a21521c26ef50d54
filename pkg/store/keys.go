package store

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"regexp"
	"strings"
)

// Key encrypts what is kept secret in the store.
type Key struct {
	Name  string // goes with what it encrypted; KeepClear = no key
	Bytes []byte // 32 random ones
}

// KeepClear is the name of the key that encrypts nothing. As the first one it leads
// back to secrets in clear.
const KeepClear = "none"

// Keys is a ring of keys: the first one seals, each opens what it has sealed. Without
// any, nothing is sealed. Any goroutine.
type Keys struct {
	seals  *Key // nil = nothing is sealed
	byName map[string]*Key
}

const (
	keySize  = 32
	saltSize = 16
	version1 = 1
)

var keyName = regexp.MustCompile(`^[A-Za-z0-9_.-]{1,64}$`)

// NewKeys makes a ring. Errors name the key and never hold it.
func NewKeys(keys ...Key) (*Keys, error) {
	r := &Keys{byName: map[string]*Key{}}
	for i, k := range keys {
		switch {
		case !keyName.MatchString(k.Name):
			return nil, fmt.Errorf("the key's name %q may hold letters, digits, _, . and - only", k.Name)
		case r.byName[k.Name] != nil || k.Name == KeepClear && i > 0:
			return nil, fmt.Errorf("the key %s is given twice, or is %s and not the first", k.Name, KeepClear)
		case k.Name == KeepClear && len(k.Bytes) == 0:
			continue
		case k.Name == KeepClear:
			return nil, fmt.Errorf("%s is the name of no key", KeepClear)
		case len(k.Bytes) != keySize:
			return nil, fmt.Errorf("the key %s has %d bytes, want %d", k.Name, len(k.Bytes), keySize)
		}
		r.byName[k.Name] = &k
		if i == 0 {
			r.seals = &k
		}
	}
	return r, nil
}

// ParseKey reads the 32 bytes of a key, in base64 or hexadecimal. The error does not
// hold the text.
func ParseKey(text string) ([]byte, error) {
	text = strings.TrimSpace(text)
	if b, err := hex.DecodeString(text); err == nil && len(b) == keySize {
		return b, nil
	}
	text = strings.NewReplacer("-", "+", "_", "/").Replace(strings.TrimRight(text, "="))
	if b, err := base64.RawStdEncoding.DecodeString(text); err == nil && len(b) == keySize {
		return b, nil
	}
	return nil, errors.New("want 32 random bytes in base64: openssl rand -base64 32")
}

// Name is the name of the key that seals, "" if nothing is sealed.
func (r *Keys) Name() string {
	if r.seals == nil {
		return ""
	}
	return r.seals.Name
}

// Seal appends plain to dst, encrypted and bound to where: its table, row and field. It
// can be opened there only. The ring must have a key that seals.
//
//	1 │ length of name │ name │ salt (16) │ nonce (12) │ AES-256-GCM
//
// Each text has a key of its own, derived by HKDF-SHA256 from the named one and the
// salt: with random nonces, one key serves only some four billion texts.
func (r *Keys) Seal(dst, plain []byte, where string) []byte {
	k := r.seals
	dst = append(dst, version1, byte(len(k.Name)))
	dst = append(dst, k.Name...)
	var salt [saltSize]byte
	rand.Read(salt[:]) // never fails
	dst = append(dst, salt[:]...)
	return k.derive(salt[:]).Seal(dst, nil, plain, []byte(where))
}

// Open appends to dst what Seal was given as plain. Errors hold nothing of it.
func (r *Keys) Open(dst, sealed []byte, where string) ([]byte, error) {
	if len(sealed) < 2 || sealed[0] != version1 || len(sealed) < 2+int(sealed[1])+saltSize {
		return dst, errors.New("is not what was encrypted")
	}
	name, rest := string(sealed[2:2+sealed[1]]), sealed[2+sealed[1]:]
	k := r.byName[name]
	if k == nil {
		return dst, missingKey(name)
	}
	out, err := k.derive(rest[:saltSize]).Open(dst, nil, rest[saltSize:], []byte(where))
	if err != nil {
		return dst, fmt.Errorf("was not encrypted with the key %s as it is now, or not for this place", name)
	}
	return out, nil
}

func missingKey(name string) error {
	return fmt.Errorf("is encrypted with the key %s, which store.encryption_keys does not have: put it back, behind the first one", name)
}

func (k *Key) derive(salt []byte) cipher.AEAD {
	sub, err := hkdf.Key(sha256.New, k.Bytes, salt, "waltrigger store", keySize)
	if err == nil {
		var block cipher.Block
		if block, err = aes.NewCipher(sub); err == nil {
			var aead cipher.AEAD
			if aead, err = cipher.NewGCMWithRandomNonce(block); err == nil {
				return aead
			}
		}
	}
	panic(fmt.Sprintf("derive key: %v", err)) // the sizes are right
}
