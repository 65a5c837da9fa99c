// The keys and the words of the page.

import { useEffect, useRef } from 'preact/hooks';

export function Help({ onClose }: { onClose: () => void }) {
  const dialog = useRef<HTMLDialogElement>(null);
  useEffect(() => dialog.current?.showModal(), []);
  return (
    <dialog ref={dialog} class="help" aria-labelledby="help-title" onClose={onClose}>
      <h2 id="help-title">Keys and words</h2>
      <dl>
        <dt>
          <kbd>f</kbd>
        </dt>
        <dd>the fleet</dd>
        <dt>
          <kbd>r</kbd>
        </dt>
        <dd>the runs</dd>
        <dt>
          <kbd>/</kbd>
        </dt>
        <dd>to the filter</dd>
        <dt>
          <kbd>?</kbd>
        </dt>
        <dd>this</dd>
        <dt>live</dt>
        <dd>the gateway was heard within the last seconds, and its reports are fresh</dd>
        <dt>old</dt>
        <dd>the last report of a VM is older than it should be</dd>
        <dt>no word</dt>
        <dd>the gateway says nothing; what you see may be old</dd>
        <dt>pass rate</dt>
        <dd>passed tasks of those whose result is known</dd>
        <dt>left</dt>
        <dd>foretold from the latest ten tasks, from the third on</dd>
      </dl>
      <form method="dialog">
        <button class="primary">Close</button>
      </form>
    </dialog>
  );
}
