// The holder of a key to which tokens are bound (RFC 9449), as a page has one: proofs are jose's.

import { createHash, randomUUID } from 'node:crypto';
import { calculateJwkThumbprint, exportJWK, generateKeyPair, SignJWT } from 'jose';

export class Holder {
  /** The latest nonce of the authorization server. */
  nonce;
  #privateKey;
  #jwk;
  #alg;

  static async make(alg = 'ES256') {
    const holder = new Holder();
    const { privateKey, publicKey } = await generateKeyPair(alg, { extractable: true });
    holder.#privateKey = privateKey;
    holder.#jwk = await exportJWK(publicKey);
    holder.#alg = alg;
    holder.thumbprint = await calculateJwkThumbprint(holder.#jwk);
    return holder;
  }

  /** A new proof. `accessToken`: the one that it comes with. */
  proof(method, url, { accessToken, nonce, claims = {} } = {}) {
    const ath = accessToken && createHash('sha256').update(accessToken).digest('base64url');
    return new SignJWT({ htm: method, htu: url, jti: randomUUID(), ...(ath && { ath }), ...(nonce && { nonce }), ...claims })
      .setProtectedHeader({ alg: this.#alg, typ: 'dpop+jwt', jwk: this.#jwk })
      .setIssuedAt(claims.iat)
      .sign(this.#privateKey);
  }
}
