// Who is up, who polls what, who holds how many streams.

import { few, type Replica, type Replicas } from '../../model/replicas';
import { number, NONE, some } from '../../ui/format';
import type { Asked } from '../../ui/fetch';
import { line } from '../../ui/harmless';
import { Age } from '../../ui/parts';
import { Doubt, NotThere } from '../runs/refused';

export function ReplicaTable({ asked, again }: { asked: Asked<Replicas>; again: () => void }) {
  if (asked.state !== 'there') return <NotThere asked={asked} what="replicas" again={again} />;
  const { replicas } = asked.value;
  return (
    <section class="panel" aria-labelledby="replicas-title">
      <Doubt asked={asked} />
      <div class="tools">
        <h2 id="replicas-title">Replicas</h2>
        <span class="hint">{some(replicas.length, 'replica')} up</span>
      </div>
      <div class="scrolls" tabIndex={0} role="region" aria-labelledby="replicas-title">
        <table data-table="replicas">
          <thead>
            <tr>
              <th scope="col">Name</th>
              <th scope="col">Polls</th>
              <th scope="col" class="numeric">
                Streams
              </th>
              <th scope="col">Up for</th>
              <th scope="col">Heard of</th>
              <th scope="col">Version</th>
            </tr>
          </thead>
          <tbody>
            {replicas.map((replica) => (
              <Row key={`${replica.replica} ${replica.started_at}`} replica={replica} />
            ))}
          </tbody>
        </table>
      </div>
    </section>
  );
}

function Row({ replica }: { replica: Replica }) {
  const { polls, streams, self } = replica;
  return (
    <tr data-replica={replica.replica}>
      <th scope="row">
        <bdi>{line(replica.replica)}</bdi>
        {self && <span class="hint"> answers here</span>}
        {replica.draining && <span class="hint"> stops</span>}
      </th>
      <td title={polls.join(', ')}>{few(polls)}</td>
      <td class="numeric">{streams === null ? NONE : number(streams)}</td>
      <td>
        <Age since={replica.started_at} />
      </td>
      <td>{self ? 'now' : <Age since={replica.heard_at} behind=" ago" />}</td>
      <td>{replica.version}</td>
    </tr>
  );
}
