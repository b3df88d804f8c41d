// How cases are written down: an area is a list of cases about one subject.

/**
 * A case: `id` (`area.name`), `sentence` (what a host does), `source` (what the sentence rests on), `needs` (features without
 * which it means nothing), `seconds` (allowance beyond the usual deadline), `silent` (it only tells, and `run` returns text).
 */
export class Area {
  cases = [];

  /** `needs` holds for all cases of the area. */
  constructor(name, title, { needs = [] } = {}) {
    this.name = name;
    this.title = title;
    this.needs = needs;
  }

  /** Adds a case that passes or fails. */
  case(name, sentence, source, run, options = {}) {
    this.#add(name, { ...options, sentence, source, run, silent: false });
  }

  /** Adds a case that tells what a host does where the documentation is silent: `run` returns a phrase. */
  silent(name, question, run, options = {}) {
    this.#add(name, { ...options, sentence: question, source: undefined, run, silent: true });
  }

  #add(name, { needs = [], seconds = 0, ...rest }) {
    const id = `${this.name}.${name}`;
    if (this.cases.some((each) => each.id === id)) throw new Error(`two cases are called ${id}`);
    this.cases.push({ id, area: this.name, needs: [...new Set([...this.needs, ...needs])], seconds, ...rest });
  }
}
