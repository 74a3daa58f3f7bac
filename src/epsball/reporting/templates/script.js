"use strict";
(() => {
  const PAGE = 20;
  const make = (tag, attributes = {}, ...children) => {
    const element = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
    element.append(...children.map(String));
    return element;
  };

  // Tabs: the panels of one list show one at a time; arrow keys move between them.
  for (const list of document.querySelectorAll("[role=tablist]")) {
    const tabs = [...list.children];
    const select = (tab, focus) => {
      for (const other of tabs) {
        const on = other === tab;
        other.setAttribute("aria-selected", on);
        other.tabIndex = on ? 0 : -1;
        document.getElementById(other.getAttribute("aria-controls")).hidden = !on;
      }
      if (focus) tab.focus();
    };
    list.addEventListener("click", (event) => tabs.includes(event.target) && select(event.target));
    list.addEventListener("keydown", (event) => {
      const at = tabs.indexOf(document.activeElement);
      const to = { ArrowRight: at + 1, ArrowLeft: at - 1, Home: 0, End: tabs.length - 1 }[event.key];
      if (at < 0 || to === undefined) return;
      event.preventDefault();
      select(tabs[(to + tabs.length) % tabs.length], true);
    });
    select(tabs[0]);
  }
  const reveal = (element) => {
    const panel = element.closest("[role=tabpanel]");
    if (panel && panel.hidden) document.getElementById(panel.getAttribute("aria-labelledby")).click();
  };

  // Tables wider than the screen say so.
  const wide = (box) => box.classList.toggle("more", box.scrollWidth > box.clientWidth + 1);
  const watch = new ResizeObserver((entries) => entries.forEach((entry) => wide(entry.target.closest(".scroll"))));
  for (const box of document.querySelectorAll(".scroll")) {
    watch.observe(box);
    watch.observe(box.querySelector("table"));
  }

  // Contents: mark the section that is being read.
  const links = new Map([...document.querySelectorAll("nav a")].map((link) => [link.hash.slice(1), link]));
  const mark = () => {
    const sections = [...document.querySelectorAll("main > section")];
    const end = scrollY + innerHeight >= document.documentElement.scrollHeight - 2;
    const above = sections.filter((section) => section.getBoundingClientRect().top < innerHeight * 0.3);
    const current = end ? sections.at(-1) : above.at(-1) || sections[0];
    for (const [id, link] of links) {
      if (id === current.id) link.setAttribute("aria-current", "true");
      else link.removeAttribute("aria-current");
    }
  };
  addEventListener("scroll", mark, { passive: true });
  addEventListener("resize", mark, { passive: true });
  mark();

  // Copy buttons; the older way where the browser keeps the clipboard from files.
  const copy = async (text) => {
    try {
      await navigator.clipboard.writeText(text);
    } catch {
      const area = make("textarea", { class: "sr", "aria-hidden": "true" });
      area.value = text;
      document.body.append(area);
      area.select();
      document.execCommand("copy");
      area.remove();
    }
  };
  for (const button of document.querySelectorAll("button.copy")) {
    const label = button.firstChild;
    button.addEventListener("click", async () => {
      await copy(button.dataset.copy);
      label.data = "Copied";
      setTimeout(() => { label.data = "Copy"; }, 1500);
    });
  }

  // The table of inputs: filtered, sorted and shown a page at a time.
  const number = (value, digits = 4) => (value === null || value === undefined ? "–" : String(Number(value.toPrecision(digits))).replace("-", "−"));
  const spent = (value) => (value === null ? "–" : value < 1 ? `${number(1000 * value, 3)} ms` : `${number(value, 3)} s`);
  const COLUMNS = ["Input", "Label", "Predicted", "Status", "Settled by", "Margin", "Attacked margin", "Time"];
  const stored = document.getElementById("instances-data");
  const all = stored ? JSON.parse(stored.textContent) : {};

  const build = (root) => {
    const data = all[root.dataset.run];
    const state = { status: null, step: null, find: "", column: 0, down: false, page: 0, open: null };
    const [filters, head, body, pager] = [".filters", "thead", "tbody", ".pager"].map((name) => root.querySelector(name));
    const shown = (row) => [row[0], row[1], row[2] ?? "–", data.statuses[row[3]], data.steps[row[4]], number(row[5]), number(row[6]), spent(row[7])];

    const chosen = () => {
      const rows = data.rows.filter((row) =>
        (state.status === null || row[3] === state.status) &&
        (state.step === null || row[4] === state.step) &&
        (state.find === "" || String(row[0]) === state.find));
      const sign = state.down ? -1 : 1;
      const key = (row) => (state.column === 3 ? data.statuses[row[3]] : state.column === 4 ? data.steps[row[4]] : row[state.column]);
      return rows.sort((a, b) => {
        const [x, y] = [key(a), key(b)];
        if (x === null || y === null) return (x === null) - (y === null);
        return x < y ? -sign : x > y ? sign : a[0] - b[0];
      });
    };

    const details = (row) => {
      const cell = make("td", { colspan: COLUMNS.length });
      const list = make("dl");
      const facts = [["verdict", `${data.statuses[row[3]]} by ${data.steps[row[4]] || "–"}`]];
      data.methods.forEach((name, i) => facts.push([`margin by ${name}`, number(row[8 + i], 6)]));
      facts.push(["attacked margin", number(row[6], 6)], ["label", row[1]], ["predicted", row[2] ?? "–"], ["time", spent(row[7])]);
      if (data.notes[row[0]]) facts.push(["note", data.notes[row[0]]]);
      for (const [name, value] of facts) {
        const pair = make("div");
        pair.append(make("dt", {}, name), make("dd", {}, value));
        list.append(pair);
      }
      cell.append(list);
      if (data.witnesses.includes(row[0])) {
        const link = make("a", { href: `#witness-${root.dataset.run}-${row[0]}` }, "See the adversarial example");
        link.addEventListener("click", () => reveal(document.getElementById(link.hash.slice(1))));
        cell.append(link);
      }
      const line = make("tr", { class: "details" });
      line.append(cell);
      return line;
    };

    const line = (row) => {
      const open = state.open === row[0];
      const element = make("tr", { class: "row", "data-index": row[0] });
      const toggle = () => { state.open = open ? null : row[0]; render(); body.querySelector(`tr[data-index="${row[0]}"] button`).focus(); };
      shown(row).forEach((text, i) => {
        const cell = make(i ? "td" : "th", i > 4 || i === 1 || i === 2 ? { class: "n" } : {}, i ? text : "");
        if (i === 0) {
          cell.scope = "row";
          cell.append(make("button", { type: "button", "aria-expanded": open, "aria-label": `Details of input ${text}` }, text));
        }
        if (i === 3) cell.className = `s-${text}`;
        element.append(cell);
      });
      element.addEventListener("click", toggle);
      return open ? [element, details(row)] : [element];
    };

    const render = () => {
      const rows = chosen();
      const pages = Math.max(1, Math.ceil(rows.length / PAGE));
      state.page = Math.min(state.page, pages - 1);
      body.replaceChildren(...rows.slice(state.page * PAGE, (state.page + 1) * PAGE).flatMap(line));
      [...head.querySelectorAll("th")].forEach((cell, i) => {
        if (i === state.column) cell.setAttribute("aria-sort", state.down ? "descending" : "ascending");
        else cell.removeAttribute("aria-sort");
      });
      for (const button of filters.querySelectorAll("[data-status]")) {
        button.setAttribute("aria-pressed", button.dataset.status === String(state.status));
      }
      const [back, text, on] = pager.children;
      const first = rows.length ? state.page * PAGE + 1 : 0;
      text.textContent = `${first}–${Math.min(rows.length, (state.page + 1) * PAGE)} of ${rows.length}`;
      back.disabled = state.page === 0;
      on.disabled = state.page === pages - 1;
    };

    const change = (what) => { Object.assign(state, { page: 0, open: null }, what); render(); };
    const chip = (label, status) => {
      const button = make("button", { type: "button", "data-status": status }, label);
      button.addEventListener("click", () => change({ status }));
      filters.append(button);
    };
    chip(`all ${data.rows.length}`, null);
    data.statuses.forEach((name, i) => {
      const count = data.rows.filter((row) => row[3] === i).length;
      if (count) chip(`${name} ${count}`, i);
    });
    const by = make("label", {}, "settled by ");
    const options = make("select");
    options.append(make("option", { value: "" }, "any"), ...data.steps.map((name, i) => make("option", { value: i }, name || "–")));
    options.addEventListener("change", () => change({ step: options.value === "" ? null : Number(options.value) }));
    by.append(options);
    const find = make("label", {}, "input ");
    const field = make("input", { type: "search", inputmode: "numeric", placeholder: "number" });
    field.addEventListener("input", () => change({ find: field.value.trim() }));
    find.append(field);
    const save = make("button", { type: "button", class: "save" }, "CSV");
    save.addEventListener("click", () => {
      const quote = (cell) => `"${String(cell ?? "").replaceAll('"', '""').replace(/^(?=[=+@\t\r])/, "'")}"`;
      const names = ["index", "label", "predicted", "status", "by", "margin", "attacked_margin", "seconds", ...data.methods];
      const rows = chosen().map((row) => [...row.slice(0, 3), data.statuses[row[3]], data.steps[row[4]], ...row.slice(5)]);
      const url = URL.createObjectURL(new Blob([[names, ...rows].map((row) => row.map(quote).join(",")).join("\n") + "\n"], { type: "text/csv" }));
      const link = make("a", { href: url, download: `inputs-${root.dataset.run}.csv` });
      link.click();
      setTimeout(() => URL.revokeObjectURL(url), 1000);
    });
    filters.append(by, find, save);

    const top = make("tr");
    COLUMNS.forEach((name, i) => {
      const cell = make("th", i > 4 || i === 1 || i === 2 ? { scope: "col", class: "n" } : { scope: "col" });
      const button = make("button", { type: "button" }, name);
      button.addEventListener("click", () => change({ column: i, down: state.column === i ? !state.down : false }));
      cell.append(button);
      top.append(cell);
    });
    head.append(top);
    const turn = (label, by) => {
      const button = make("button", { type: "button" }, label);
      button.addEventListener("click", () => { state.page += by; state.open = null; render(); });
      return button;
    };
    pager.append(turn("Previous", -1), make("span", { "aria-live": "polite" }), turn("Next", 1));
    render();
  };
  document.querySelectorAll(".instances").forEach(build);
})();
