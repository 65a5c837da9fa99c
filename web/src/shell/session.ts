// Who is signed in, for the views that not everybody has. Asked until there is an answer.

import { Refused } from '../ui/fetch';
import type { Session } from '../model/types';

/** After the first refusal and at the longest, milliseconds. */
const FIRST_MS = 1000;
const MAX_MS = 60_000;

export class WhoAmI {
  #ask: () => Promise<Session>;
  #told: (session: Session | null) => void;
  /** Of the question that counts. */
  #turn = 0;
  #timer: ReturnType<typeof setTimeout> | undefined;

  constructor(ask: () => Promise<Session>, told: (session: Session | null) => void) {
    this.#ask = ask;
    this.#told = told;
  }

  /** Asks anew; what is known stands until it is answered. */
  ask(): void {
    this.#stop();
    void this.#try(this.#turn, FIRST_MS);
  }

  /** Nobody is. */
  forget(): void {
    this.#stop();
    this.#told(null);
  }

  #stop(): void {
    this.#turn += 1;
    clearTimeout(this.#timer);
  }

  async #try(turn: number, wait: number): Promise<void> {
    let answer: Session | null;
    try {
      answer = await this.#ask();
    } catch (error) {
      if (turn !== this.#turn) return;
      if (!(error instanceof Refused) || error.status !== 401) {
        const asked = error instanceof Refused && error.retryAfter !== null ? error.retryAfter * 1000 : wait;
        this.#timer = setTimeout(() => void this.#try(turn, Math.min(MAX_MS, wait * 2)), Math.min(MAX_MS, Math.max(wait, asked)));
        return;
      }
      answer = null;
    }
    if (turn === this.#turn) this.#told(answer);
  }
}
