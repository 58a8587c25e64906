#!/bin/bash
# Makes the timestamps of this folder anew with OpenSSL 3, in a folder that is thrown away: the
# keys are not kept. Usage: make.sh
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d) && trap "rm -rf $work" EXIT && cd "$work"
cat > ts.cnf <<'C'
[ tsa ]
default_tsa = conf
[ conf ]
dir = .
serial = ./serial
crypto_device = builtin
signer_digest = sha256
default_policy = 1.2.3.4.1
digests = sha256, sha384, sha512
accuracy = secs:1
ordering = yes
tsa_name = yes
ess_cert_id_chain = no
ess_cert_id_alg = sha256
clock_precision_digits = 3
[ root ]
basicConstraints = critical,CA:true
keyUsage = critical,keyCertSign,cRLSign
[ inter ]
basicConstraints = critical,CA:true,pathlen:0
keyUsage = critical,keyCertSign
extendedKeyUsage = timeStamping
[ leaf ]
basicConstraints = critical,CA:false
keyUsage = critical,digitalSignature
extendedKeyUsage = critical,timeStamping
subjectKeyIdentifier = hash
C
echo 01 > serial
openssl ecparam -name secp384r1 -genkey -noout -out root.key
cat >> ts.cnf <<'C'
[ req ]
distinguished_name = dn
[ dn ]
C
openssl req -x509 -new -key root.key -sha384 -days 36500 -subj "/O=test/CN=root" -config ts.cnf \
    -extensions root -out root.pem
mk() {
    openssl req -new -key "$1.key" -subj "/O=test/CN=$1" -config ts.cnf -out "$1.csr"
    openssl x509 -req -in "$1.csr" -CA "$2.pem" -CAkey "$2.key" -CAcreateserial -days 36500 -sha256 \
        -extfile ts.cnf -extensions "$3" -out "$1.pem"
}
openssl ecparam -name prime256v1 -genkey -noout -out inter.key
mk inter root inter
openssl ecparam -name prime256v1 -genkey -noout -out ec.key
openssl genrsa -out rsa.key 2048
mk ec inter leaf
mk rsa inter leaf
# It complains about options that the section leaves out.
reply() { openssl ts -reply -config "$@"; }
printf 'a signature' > data
openssl ts -query -data data -sha256 -cert -out q256.tsq
openssl ts -query -data data -sha512 -out q512.tsq
cat inter.pem root.pem > chain.pem
reply ts.cnf -queryfile q256.tsq -signer ec.pem -inkey ec.key -chain chain.pem -out ecdsa-sha256.tsr
reply ts.cnf -queryfile q512.tsq -signer rsa.pem -inkey rsa.key -sha512 -out rsa-sha512.tsr
sed 's/ess_cert_id_alg = sha256/ess_cert_id_alg = sha1/' ts.cnf > ts1.cnf
reply ts1.cnf -queryfile q256.tsq -signer ec.pem -inkey ec.key -sha384 -out ecdsa-sha384.tsr
for f in root inter ec rsa; do openssl x509 -in $f.pem -outform DER -out $f.der; done
cp root.der inter.der ec.der rsa.der ./*.tsr "$here"
