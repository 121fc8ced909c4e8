// Optional: keeps what is being typed on this phone until the hub has it, for a day at most.
// A mini-browser may refuse the store at any call; then nothing is kept and nothing breaks.
(function () {
  function store(act) {
    try {
      return act(window.localStorage);
    } catch (e) {
      return null;
    }
  }

  function fields(form) {
    return [].filter.call(form.elements, function (field) {
      return field.name && !/^(kept|website|phrase)$/.test(field.name) && !/hidden|file|submit|fieldset/.test(field.type);
    });
  }

  function isOn(field) {
    return field.type === "radio" || field.type === "checkbox";
  }

  // What the form holds now, or (asSent) as the hub sent it: a browser that reloads fills it in itself.
  function read(form, asSent) {
    var values = {};
    fields(form).forEach(function (field) {
      if (isOn(field)) {
        if (asSent ? field.defaultChecked : field.checked) values[field.name] = field.value;
      } else if (asSent && field.options) values[field.name] = (field.querySelector("[selected]") || field).value;
      else values[field.name] = asSent ? field.defaultValue : field.value;
    });
    return values;
  }

  function write(form, values) {
    fields(form).forEach(function (field) {
      if (isOn(field)) field.checked = values[field.name] === field.value;
      else if (field.name in values) field.value = values[field.name];
    });
  }

  function keep(form) {
    var name = "draft:" + form.getAttribute("data-draft");
    var before = read(form, true);
    var timer;
    var draft = store(function (kept) {
      return JSON.parse(kept.getItem(name));
    });

    function save() {
      clearTimeout(timer);
      store(function (kept) {
        var values = read(form);
        if (JSON.stringify(values) === JSON.stringify(before)) kept.removeItem(name);
        else kept.setItem(name, JSON.stringify({at: +new Date(), values: values}));
      });
    }

    if (draft && new Date() - draft.at < 864e5) {
      var line = document.createElement("p");
      var button = document.createElement("button");
      write(form, draft.values);
      line.className = "say";
      line.setAttribute("role", "status");
      line.textContent = form.getAttribute("data-kept") + " ";
      button.type = "button";
      button.className = "link";
      button.textContent = form.getAttribute("data-clear");
      button.onclick = function () {
        write(form, before);
        save();
        form.removeChild(line);
      };
      line.appendChild(button);
      form.insertBefore(line, form.firstChild);
    }
    form.addEventListener("input", function () {
      clearTimeout(timer);
      timer = setTimeout(save, 400);
    });
    form.addEventListener("change", save);
    window.addEventListener("pagehide", save);
    // Which draft was sent is remembered until a page says that it has arrived.
    form.addEventListener("submit", function () {
      save();
      store(function (kept) {
        kept.setItem("sent", name);
      });
    });
  }

  if (document.querySelector("[data-done]")) {
    store(function (kept) {
      kept.removeItem(kept.getItem("sent"));
      kept.removeItem("sent");
    });
  }
  [].forEach.call(document.querySelectorAll("form[data-draft]"), keep);
})();
