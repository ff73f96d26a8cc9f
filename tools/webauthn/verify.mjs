// Verifies every passkey in a tape of a browser's calls with a verifier that
// others have written. What Propusk accepted must be right to it too.
//
//	node verify.mjs tape.json
import { readFileSync } from "node:fs"
import { verifyAuthenticationResponse, verifyRegistrationResponse } from "@simplewebauthn/server"

const { exchanges } = JSON.parse(readFileSync(process.argv[2], "utf8"))
const options = exchanges.map(({ response }) => response?.data?.options).filter(Boolean)
const known = new Map() // passkeys, by id
let verified = 0

for (const { path, request, response } of exchanges) {
  const passkey = request?.passkey
  if (!passkey) continue
  if (response.status !== "success") throw new Error(`${path}: refused by Propusk: ${JSON.stringify(response)}`)
  const client = JSON.parse(Buffer.from(passkey.response.clientDataJSON, "base64url"))
  const asked = options.find(({ challenge }) => challenge === client.challenge)
  if (!asked) throw new Error(`${path}: nobody asked for this challenge`)
  const expected = {
    response: passkey,
    expectedChallenge: asked.challenge,
    expectedOrigin: "https://" + (asked.rpId ?? asked.rp.id),
    expectedRPID: asked.rpId ?? asked.rp.id,
    requireUserVerification: (asked.userVerification ?? asked.authenticatorSelection.userVerification) === "required",
  }
  let result
  if (asked.rp) {
    result = await verifyRegistrationResponse({ ...expected, supportedAlgorithmIDs: asked.pubKeyCredParams.map(({ alg }) => alg) })
    if (result.verified) known.set(passkey.id, result.registrationInfo.credential)
  } else {
    const credential = known.get(passkey.id)
    result = await verifyAuthenticationResponse({ ...expected, credential })
    credential.counter = result.authenticationInfo.newCounter
  }
  if (!result.verified) throw new Error(`${path}: not verified`)
  console.log(`${path}: verified`)
  verified++
}
// One that is added, four logins and a new proof of identity.
if (verified !== 6) throw new Error(`${verified} passkeys on the tape, want 6`)
