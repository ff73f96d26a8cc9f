package account

import (
	"crypto/rsa"
	"crypto/x509"
	"time"

	"github.com/go-webauthn/webauthn/protocol"
)

// What a signature may cost to verify. Whoever adds a passkey chooses its key, and
// the certificates beside it; one of RSA with a modulus of tens of kilobytes takes
// the processor for many seconds, and all who write to the database wait.
const (
	maxRSABits     = 4096
	maxRSAExponent = 65537
	// maxPasskeyKey is more than a key of maxRSABits takes in COSE's form.
	maxPasskeyKey = 600
)

// bounded refuses a new passkey whose signatures would take long to verify, before
// anything of it is verified.
func bounded(a *protocol.AttestationObject) error {
	if len(a.AuthData.AttData.CredentialPublicKey) > maxPasskeyKey {
		return refusePasskey(Invalid, CodePasskeyRefused, "its key is too long")
	}
	statements := []protocol.NonCompoundAttestationObject{{Format: a.Format, AttStatement: a.AttStatement}}
	for _, st := range append(statements, a.SubStatements...) {
		// Its certificates stand in a text that only its own verification reads. The
		// service that made it has ended.
		if st.Format == string(protocol.AttestationFormatAndroidSafetyNet) {
			return refusePasskey(Invalid, CodePasskeyRefused, "attestations of SafetyNet are not taken")
		}
		for _, cert := range certificates(st.AttStatement) {
			if key, ok := cert.PublicKey.(*rsa.PublicKey); ok && (key.N.BitLen() > maxRSABits || key.E > maxRSAExponent) {
				return refusePasskey(Invalid, CodePasskeyRefused, "a key of its attestation is too long")
			}
		}
	}
	return nil
}

// certificates are those of a statement that can be read: others verify nothing.
func certificates(statement map[string]any) (out []*x509.Certificate) {
	chain, _ := statement["x5c"].([]any)
	for _, c := range chain {
		der, _ := c.([]byte)
		if cert, err := x509.ParseCertificate(der); err == nil {
			out = append(out, cert)
		}
	}
	return out
}

// admits holds a new passkey against the operator's list of models and makers
// (steps 7.1.22 to 24). Without the makers' certificates the model is the word of
// whoever made the passkey.
func (s *Service) admits(a *protocol.AttestationObject, now time.Time) error {
	if !s.policy.allowsModel(a.AuthData.AttData.AAGUID) {
		return refusePasskey(Invalid, CodePasskeyNotAllowed, "model "+aaguidText(a.AuthData.AttData.AAGUID)+" is not on the list")
	}
	if s.policy.PasskeyRoots == nil {
		return nil
	}
	chain, _ := a.AttStatement["x5c"].([]any)
	var certs []*x509.Certificate
	for i, c := range chain {
		der, _ := c.([]byte)
		cert, err := x509.ParseCertificate(der)
		if err != nil {
			return refusePasskey(Invalid, CodePasskeyNotAllowed, "a certificate of the attestation cannot be read")
		}
		if i == 0 { // a TPM names itself there in a way that x509 does not read, and the library does
			cert.UnhandledCriticalExtensions = nil
		}
		certs = append(certs, cert)
	}
	if len(certs) == 0 {
		return refusePasskey(Invalid, CodePasskeyNotAllowed, "the attestation has no certificates")
	}
	between := x509.NewCertPool()
	for _, c := range certs[1:] {
		between.AddCert(c)
	}
	_, err := certs[0].Verify(x509.VerifyOptions{Roots: s.policy.PasskeyRoots, Intermediates: between, CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}})
	if err != nil {
		return refusePasskey(Invalid, CodePasskeyNotAllowed, "the attestation is of no maker that is trusted")
	}
	return nil
}
