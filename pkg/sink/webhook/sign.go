package webhook

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"hash"
	"strconv"
	"strings"
	"sync"
)

// Bounds of a signing key by Standard Webhooks, bytes.
const (
	minKey = 24
	maxKey = 64
)

// signer signs requests by Standard Webhooks 1.0.0, once with each of its secrets: while
// a receiver changes from one to another, either is right. Safe for concurrent use.
type signer struct{ macs []*sync.Pool } // of hash.Hash, keyed

// newSigner reads secrets that are separated by spaces.
func newSigner(secrets string) (*signer, error) {
	s := &signer{}
	for secret := range strings.FieldsSeq(secrets) {
		key, err := parseSecret(secret)
		if err != nil {
			return nil, err
		}
		s.macs = append(s.macs, &sync.Pool{New: func() any { return hmac.New(sha256.New, key) }})
	}
	if len(s.macs) == 0 {
		return nil, errors.New("the secret is empty")
	}
	return s, nil
}

// parseSecret reads whsec_ and a key in base64; its errors do not repeat it.
func parseSecret(secret string) (key []byte, err error) {
	text, ok := strings.CutPrefix(secret, "whsec_")
	switch {
	case strings.HasPrefix(secret, "whsk_"):
		return nil, errors.New("is a private key for signatures of version v1a: only secrets that begin with whsec_ are taken")
	case !ok:
		return nil, errors.New("must be whsec_ and 24 to 64 random bytes in base64 (echo whsec_$(openssl rand -base64 32))")
	}
	if key, err = base64.StdEncoding.DecodeString(text); err != nil {
		return nil, errors.New("what follows whsec_ is no base64")
	}
	if len(key) < minKey || len(key) > maxKey {
		return nil, fmt.Errorf("the key after whsec_ has %d bytes, not %d to %d", len(key), minKey, maxKey)
	}
	return key, nil
}

// append appends the value of webhook-signature: of each secret v1 and the HMAC-SHA256 of
// id, time and body.
func (s *signer) append(dst []byte, id string, unix int64, body []byte) []byte {
	for i, pool := range s.macs {
		if i > 0 {
			dst = append(dst, ' ')
		}
		mac := pool.Get().(hash.Hash)
		mac.Reset()
		start := len(dst) // what is signed is put together where the signature will stand
		dst = append(dst, id...)
		dst = append(dst, '.')
		dst = strconv.AppendInt(dst, unix, 10)
		dst = append(dst, '.')
		mac.Write(dst[start:])
		mac.Write(body)
		dst = append(dst[:start], "v1,"...)
		var sum [sha256.Size]byte
		dst = base64.StdEncoding.AppendEncode(dst, mac.Sum(sum[:0]))
		pool.Put(mac)
	}
	return dst
}

// signer returns the signer for secrets, nil if there are none.
func (s *Sink) signer(secrets string) (*signer, error) {
	if secrets == "" {
		return nil, nil
	}
	s.mu.RLock()
	sg := s.signers[secrets]
	s.mu.RUnlock()
	if sg != nil {
		return sg, nil
	}
	sg, err := newSigner(secrets)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.signers) >= maxTargets {
		clear(s.signers)
	}
	s.signers[secrets] = sg
	return sg, nil
}
