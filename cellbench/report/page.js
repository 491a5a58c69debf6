"use strict";
// Draws the figures from the payload, applies the reader's choices, sorts and filters the table. Computes no number.
(() => {
  const page = JSON.parse(document.getElementById("payload").textContent);
  const $ = (selector, within = document) => within.querySelector(selector);
  const all = (selector, within = document) => [...within.querySelectorAll(selector)];

  // ---- frames, decoded: see `frame` in payload.py ----
  function columnsOf(frame) {
    const columns = {};
    for (const [name, column] of Object.entries(frame.columns)) {
      if (Array.isArray(column)) { columns[name] = column; continue; }
      const values = new Array(frame.length);
      let at = 0;
      for (let i = 0; i < column.runs.length; i += 2)
        for (let n = column.runs[i + 1]; n > 0; n--) values[at++] = column.of[column.runs[i]];
      columns[name] = values;
    }
    return columns;
  }
  function rowsWhere(frame, columns, keep) {
    const names = Object.keys(columns), rows = [];
    for (let i = 0; i < frame.length; i++) {
      if (!keep(i)) continue;
      const row = {};
      for (const name of names) row[name] = columns[name][i];
      rows.push(row);
    }
    return rows;
  }

  // ---- light and dark ----
  const system = window.matchMedia("(prefers-color-scheme: dark)");
  let asked = null;
  const dark = () => (asked === null ? system.matches : asked);
  function themed() {
    document.documentElement.dataset.theme = dark() ? "dark" : "light";
    $("#theme").textContent = dark() ? "Light" : "Dark";
  }

  // ---- which cells ----
  let shown = new Set(page.shown);
  const listed = () => page.cells.filter((cell) => shown.has(cell));

  // ---- a figure's definition for what is chosen now ----
  // `present`: the cells that have a row, so that a legend has no entry without a mark; null: all cells
  function adapted(node, title, present) {
    if (typeof node === "string") return dark() && Object.hasOwn(page.onDark, node) ? page.onDark[node] : node;
    if (Array.isArray(node)) return node.map((value) => adapted(value, title, present));
    if (node === null || typeof node !== "object") return node;
    const result = {};
    for (const [key, value] of Object.entries(node)) {
      // labels are data: a cell's name may look like a colour
      if (key === "domain" || key === "sort") result[key] = value;
      else if (key === "title" && typeof value === "string") result[key] = value.split(page.choice).join(title);
      else result[key] = adapted(value, title, present);
    }
    if (present && node.field === "cell" && node.scale && node.scale.domain) {
      const keep = node.scale.domain.map((cell) => present.has(cell));
      result.scale.domain = node.scale.domain.filter((_, i) => keep[i]);
      result.scale.range = result.scale.range.filter((_, i) => keep[i]);
    }
    return result;
  }

  const views = {};
  const decoded = {};
  function chosen(name) {
    const figure = page.figures[name];
    decoded[name] ??= columnsOf(figure.rows);
    const columns = decoded[name];
    const wanted = all(`figure#${CSS.escape(name)} select`).map((s) => [columns[s.dataset.field], s.value]);
    const cells = figure.everyCell ? null : columns.cell;
    return rowsWhere(figure.rows, columns, (i) =>
      wanted.every(([column, value]) => column[i] === null || column[i] === value) &&
      (!cells || cells[i] === "" || cells[i] === null || shown.has(cells[i])));
  }
  function chosenTitle(name) {
    const place = page.figures[name].controls.findIndex((control) => control.choose);
    if (place < 0) return "";
    return all(`figure#${CSS.escape(name)} select`)[place].selectedOptions[0].textContent;
  }
  // whether some row has all the numbers that a layer needs: vega would warn about an empty layer
  function belongs(layer, rows) {
    const wanted = (layer.transform ?? []).map(({ filter }) => /^datum\.(\w+) === '(\w+)'$/.exec(filter ?? "")).filter(Boolean);
    const fields = ["x", "x2", "y", "y2", "text"].map((channel) => layer.encoding[channel]?.field).filter(Boolean);
    return rows.some((row) => wanted.every(([, field, value]) => row[field] === value) && fields.every((field) => row[field] != null));
  }
  async function draw(name) {
    const figure = page.figures[name], place = $(`figure#${CSS.escape(name)} .chart`);
    const rows = chosen(name);
    const spec = adapted(figure.spec, chosenTitle(name), figure.everyCell ? null : new Set(rows.map((row) => row.cell)));
    spec.datasets = { rows };
    spec.layer = spec.layer.filter((layer) => belongs(layer, rows));
    views[name]?.finalize();
    delete views[name];
    const names = spec.layer.map((layer) => layer.name);
    if (!spec.layer.length || !(spec.params ?? []).every(({ views }) => (views ?? []).every((view) => names.includes(view)))) {
      place.textContent = "Nothing to draw for this choice.";
      place.dataset.drawn = "empty";
      return;
    }
    const longest = Math.max(...listed().map((cell) => cell.length));
    const columns = Math.max(1, Math.floor(place.clientWidth / (44 + 6.5 * Math.min(longest, 30))));
    for (const layer of spec.layer) {
      // on a phone, long names must leave room for the marks
      const axis = layer.encoding.y?.axis;
      if (axis?.labelLimit) axis.labelLimit = Math.min(axis.labelLimit, 0.35 * place.clientWidth);
      for (const channel of Object.values(layer.encoding ?? {}))
        if (channel.legend && "columns" in channel.legend) channel.legend.columns = columns;
    }
    const result = await vegaEmbed(place, spec, { renderer: "svg", actions: false, ast: false, tooltip: { theme: "custom" } });
    views[name] = result;
    $("svg", place).setAttribute("aria-hidden", "true"); // screen readers get the title and the caption, not every mark
    place.dataset.drawn = "yes";
  }
  let round = 0;
  async function drawAll() {
    const mine = ++round;
    for (const name of Object.keys(page.figures)) {
      await draw(name);
      await new Promise((done) => setTimeout(done)); // so that the page can scroll in between
      if (mine !== round) return;
    }
    document.documentElement.dataset.drawn = "all";
  }

  // ---- saving ----
  function save(name, content, type) {
    const link = document.createElement("a");
    link.href = typeof content === "string" && content.startsWith("data:") ? content : URL.createObjectURL(new Blob([content], { type }));
    link.download = name;
    document.body.append(link);
    link.click();
    link.remove();
  }
  // a spreadsheet would run such text as a formula
  const harmless = (text) => (/^[=+\-@\t\r]/.test(text) ? `'${text}` : text);
  function csv(rows, names) {
    const field = (value) => {
      if (value === null || value === undefined) return "";
      const text = typeof value === "string" ? harmless(value) : String(value);
      return /[",\n\r]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
    };
    return [names, ...rows.map((row) => names.map((name) => row[name]))].map((line) => line.map(field).join(",")).join("\n") + "\n";
  }

  // ---- the choice of cells ----
  const dashes = {}, colours = {};
  (function marks(node) {
    if (node === null || typeof node !== "object") return;
    if (node.field === "cell" && node.scale && node.scale.domain)
      node.scale.domain.forEach((cell, i) => {
        const value = node.scale.range[i];
        if (Array.isArray(value)) dashes[cell] = value; else if (String(value).startsWith("#")) colours[cell] = value;
      });
    Object.values(node).forEach(marks);
  })(Object.values(page.figures).map((figure) => figure.spec));
  function sample(cell) {
    const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
    svg.setAttribute("width", 28); svg.setAttribute("height", 10); svg.setAttribute("aria-hidden", "true");
    const line = document.createElementNS("http://www.w3.org/2000/svg", "line");
    for (const [key, value] of Object.entries({ x1: 0, x2: 28, y1: 5, y2: 5, "stroke-width": 3 })) line.setAttribute(key, value);
    const colour = colours[cell] ?? "#888888";
    line.setAttribute("stroke", dark() ? page.onDark[colour] ?? colour : colour);
    line.setAttribute("stroke-dasharray", (dashes[cell] ?? [1, 0]).join(" "));
    svg.append(line);
    return svg;
  }
  function boxes() {
    const place = $("#cells");
    if (!place) return;
    place.replaceChildren(...page.cells.map((cell) => {
      const label = document.createElement("label"), box = document.createElement("input"), text = document.createElement("span");
      box.type = "checkbox"; box.checked = shown.has(cell); box.value = cell;
      box.addEventListener("change", () => {
        if (box.checked) shown.add(cell); else shown.delete(cell);
        counted(); drawAll();
      });
      text.textContent = cell; text.title = cell;
      label.append(box, sample(cell), text);
      return label;
    }));
    counted();
  }
  const counted = () => { $("#choose-count").textContent = `${shown.size} of ${page.cells.length} shown`; };

  // ---- the table ----
  const table = { which: Object.keys(page.tables)[0], by: null, up: true, whole: false, filter: "" };
  const FIRST_ROWS = 200;
  const lookOf = (value) => {
    if (value === null) return "";
    if (typeof value !== "number") return String(value);
    return Number.isInteger(value) ? String(value) : String(Number(value.toPrecision(4)));
  };
  function tableRows() {
    const { rows: frame } = page.tables[table.which];
    decoded[`table ${table.which}`] ??= columnsOf(frame);
    const columns = decoded[`table ${table.which}`], names = Object.keys(columns), at = $("#table-at").value;
    const wanted = table.filter.toLowerCase().split(",").map((part) => part.trim()).filter(Boolean);
    const rows = rowsWhere(frame, columns, (i) => {
      if (at && columns.at[i] !== at) return false;
      if (!wanted.length) return true;
      const text = names.map((name) => lookOf(columns[name][i])).join(" ").toLowerCase();
      return wanted.every((word) => text.includes(word));
    });
    if (table.by !== null) {
      const way = table.up ? 1 : -1;
      rows.sort((a, b) => {
        const x = a[table.by], y = b[table.by];
        if (x === null || y === null) return (x === null) - (y === null); // unknown values are always last
        return way * (typeof x === "number" && typeof y === "number" ? x - y : String(x).localeCompare(String(y), undefined, { numeric: true }));
      });
    }
    return { rows, names };
  }
  function fillTable() {
    const { rows, names } = tableRows(), place = $("#rows");
    const head = document.createElement("thead"), line = head.insertRow();
    for (const name of names) {
      const cell = document.createElement("th"), button = document.createElement("button");
      cell.scope = "col"; button.type = "button";
      button.textContent = name.replaceAll("_", " ") + (table.by === name ? (table.up ? " ▲" : " ▼") : "");
      if (table.by === name) cell.setAttribute("aria-sort", table.up ? "ascending" : "descending");
      button.addEventListener("click", () => {
        table.up = table.by === name ? !table.up : true;
        table.by = name;
        fillTable();
        all("#rows thead button")[names.indexOf(name)].focus();
      });
      cell.append(button); line.append(cell);
    }
    const body = document.createElement("tbody");
    for (const row of table.whole ? rows : rows.slice(0, FIRST_ROWS)) {
      const at = body.insertRow();
      for (const name of names) {
        const cell = at.insertCell(), text = lookOf(row[name]);
        cell.textContent = text;
        if (typeof row[name] === "number") cell.className = "number";
        if (text.length > 30) cell.title = text;
      }
    }
    place.replaceChildren(head, body);
    $("#table-count").textContent = `${rows.length} row${rows.length === 1 ? "" : "s"}`;
    $("#table-more").hidden = table.whole || rows.length <= FIRST_ROWS;
  }
  function chooseTable() {
    const { at, first } = page.tables[table.which];
    $("#table-at").replaceChildren(new Option("all", ""), ...at.map((value) => new Option(value, value)));
    $("#table-at").value = at.includes(first.at) ? first.at : "";
    table.by = null; table.whole = false;
    fillTable();
  }

  // ---- start ----
  themed();
  $("#theme").hidden = false;
  $("#table-controls").hidden = false;
  const retheme = () => { themed(); boxes(); drawAll(); };
  $("#theme").addEventListener("click", () => { asked = !dark(); retheme(); });
  system.addEventListener("change", retheme);

  $("#table-which").replaceChildren(...Object.entries(page.tables).map(([name, { title }]) => new Option(title, name)));
  $("#table-which").addEventListener("change", (event) => { table.which = event.target.value; chooseTable(); });
  $("#table-at").addEventListener("change", fillTable);
  $("#table-filter").addEventListener("input", (event) => { table.filter = event.target.value; fillTable(); });
  $("#table-more").addEventListener("click", () => { table.whole = true; fillTable(); });
  $("#table-csv").addEventListener("click", () => {
    const { rows, names } = tableRows();
    save(`${table.which}.csv`, csv(rows, names), "text/csv");
  });
  chooseTable();

  $("#copy").hidden = false;
  $("#copy").addEventListener("click", async () => {
    const text = $("#copied").textContent;
    try {
      await navigator.clipboard.writeText(text);
    } catch {
      const range = document.createRange();
      range.selectNodeContents($("#copied"));
      getSelection().removeAllRanges(); getSelection().addRange(range);
      document.execCommand("copy");
    }
    $("#copy-said").textContent = "Copied.";
  });

  if ($("#choose")) {
    $("#choose").hidden = false;
    boxes();
    for (const button of all("#choose button"))
      button.addEventListener("click", () => {
        shown = new Set({ all: page.cells, first: page.shown, baseline: page.cells.slice(0, 1) }[button.dataset.cells]);
        boxes(); drawAll();
      });
  }
  for (const figure of all("figure")) {
    for (const select of all("select", figure)) select.addEventListener("change", () => draw(figure.id));
    $(".save", figure).hidden = false;
    for (const button of all("[data-save]", figure))
      button.addEventListener("click", async () => {
        const form = button.dataset.save, file = `${figure.id}.${form}`;
        if (form === "csv") {
          const rows = chosen(figure.id);
          save(file, csv(rows, Object.keys(decoded[figure.id])), "text/csv");
        } else if (form === "svg") save(file, await views[figure.id].view.toSVG(), "image/svg+xml");
        else save(file, await views[figure.id].view.toImageURL("png", 3), "image/png");
      });
  }
  let width = document.documentElement.clientWidth, waiting;
  window.addEventListener("resize", () => {
    if (document.documentElement.clientWidth === width) return; // only the height changed: a phone's address bar moved
    width = document.documentElement.clientWidth;
    clearTimeout(waiting);
    waiting = setTimeout(drawAll, 150);
  });
  drawAll();
})();
