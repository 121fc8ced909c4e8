// Optional: sends large files in pieces, so that they go on after a dark screen, a lost Wi-Fi or a restart
// of the hub; choosing the same file again goes on too. Then it sends the form, with what has arrived in
// place of the files. Without it, or where a browser lacks something, the plain form does the work.
//
// The page gives a <form data-uploads> with one file field, an empty <div id="uploads"> inside it, and its
// words in the language of the page:
//   data-bar      what the bar shows: "What has arrived"
//   data-sending  "{name}, {number} of {count}: {percent} %"
//   data-lost     "The connection is gone. {percent} % of {name} has arrived. It goes on by itself."
//   data-whole    "Everything has arrived."
//   data-unread   "{name} cannot be read any more. Choose it again."
// In the div the script makes a <progress> and a <p role="status">, which it fills every tenth of the way
// so that a screen reader is not kept busy. What the hub refuses is said there in the hub's words.
(function () {
  var form = document.querySelector("form[data-uploads]");
  var box = document.getElementById("uploads");
  var MIB = 1048576;
  var piece = MIB;
  var table = [];
  var busy, field, bar, words, before, total, i, k, c;

  if (!form || !box || !window.FileReader) return;
  field = form.querySelector("input[type=file]");
  bar = box.appendChild(document.createElement("progress"));
  words = box.appendChild(document.createElement("p"));
  bar.hidden = true;
  bar.setAttribute("aria-label", form.getAttribute("data-bar"));
  words.setAttribute("role", "status");

  for (i = 0; i < 256; i++) {
    for (c = i, k = 0; k < 8; k++) c = c & 1 ? (c >>> 1) ^ 0xedb88320 : c >>> 1;
    table[i] = c;
  }

  function crc32(bytes) {
    var sum = -1;
    for (var at = 0; at < bytes.length; at++) sum = table[(sum ^ bytes[at]) & 255] ^ (sum >>> 8);
    return ("0000000" + (~sum >>> 0).toString(16)).slice(-8);
  }

  function say(text) {
    if (words.textContent !== text) words.textContent = text;
  }

  // Where uploads stopped, by file, for two days; a mini-browser may refuse the store at any call.
  function kept(key, to) {
    try {
      var all = JSON.parse(localStorage.getItem("uploads")) || {};
      for (var each in all) if (new Date() - all[each].at > 1728e5) delete all[each];
      if (to) all[key] = {at: +new Date(), to: to};
      localStorage.setItem("uploads", JSON.stringify(all));
      return all[key] && all[key].to;
    } catch (e) {}
  }

  function end(text) {
    busy = false;
    bar.hidden = true;
    say(text);
  }

  function send(files, number, done) {
    var file = files[number];
    var key = [file.name, file.size, file.lastModified].join("/");
    var to = kept(key);
    var offset = 0;
    var failed = 0;
    var began;

    function fill(text, at) {
      var values = {
        name: "\u2068" + file.name + "\u2069",
        number: number + 1,
        count: files.length,
        percent: Math.floor((file.size ? at / file.size : 1) * 10) * 10
      };
      return form.getAttribute("data-" + text).replace(/\{(\w+)\}/g, function (all, name) {
        return values[name];
      });
    }

    function show(at) {
      bar.value = (before + at) / total;
      say(fill("sending", at));
    }

    function ask(method, address, fields, body) {
      var xhr = new XMLHttpRequest();
      xhr.open(method, address);
      for (var name in fields) xhr.setRequestHeader(name, fields[name]);
      xhr.timeout = 12e4;
      if (body) {
        xhr.upload.onprogress = function (event) {
          show(offset + event.loaded);
        };
      }
      xhr.onloadend = function () {
        answered(xhr, body);
      };
      began = new Date();
      xhr.send(body);
    }

    function look() {
      var name = "file";
      if (to) return ask("HEAD", to);
      // Half of a character cannot be said that way.
      try {
        name = encodeURIComponent(file.name);
      } catch (e) {}
      ask("POST", "/uploads", {
        "Upload-Length": file.size,
        "Upload-Complete": "?0",
        "Content-Disposition": "attachment; filename*=UTF-8''" + name
      });
    }

    function push() {
      var reader = new FileReader();
      reader.onload = function () {
        ask("PATCH", to, {
          "Content-Type": "application/partial-upload",
          "Upload-Offset": offset,
          "Upload-Complete": offset + reader.result.byteLength < file.size ? "?0" : "?1",
          "Upload-Piece-CRC32": crc32(new Uint8Array(reader.result))
        }, reader.result);
      };
      reader.onerror = function () {
        end(fill("unread", 0));
      };
      reader.readAsArrayBuffer(file.slice(offset, offset + piece));
    }

    function answered(xhr, body) {
      var status = xhr.status;
      if (status === 201 || status === 204) {
        if (status === 201) kept(key, to = xhr.getResponseHeader("Location"));
        if (body) {
          failed = 0;
          if (new Date() - began < 2e3) piece = Math.min(piece * 2, 4 * MIB);
        }
        offset = +xhr.getResponseHeader("Upload-Offset");
        show(offset);
        if (xhr.getResponseHeader("Upload-Complete") === "?1") {
          before += file.size;
          done(to.split("/").pop());
        } else push();
      } else if (status === 404 && to) {
        to = "";
        look();
      } else if (/^(4(?!0[089])|507)/.test(status) || (status === 400 && failed > 4)) {
        end(xhr.responseText);
      } else {
        failed = Math.min(failed + 1, 9);
        piece = Math.max(piece / 2, MIB / 4);
        say(fill("lost", offset));
        setTimeout(look, Math.min(500 << failed, 3e4));
      }
    }

    look();
  }

  form.addEventListener("submit", function (event) {
    var files = [].slice.call(field.files || []);
    var tokens = [];
    if (busy) return event.preventDefault();
    before = total = 0;
    files.forEach(function (file) {
      total += file.size;
    });
    if (total < MIB) return;
    event.preventDefault();
    busy = true;
    bar.hidden = false;

    (function next(token) {
      if (token) tokens.push(token);
      if (tokens.length < files.length) return send(files, tokens.length, next);
      say(form.getAttribute("data-whole"));
      tokens.forEach(function (each) {
        var hidden = box.appendChild(document.createElement("input"));
        hidden.type = "hidden";
        hidden.name = "upload";
        hidden.value = each;
      });
      field.disabled = true;
      form.submit();
    })();
  });

  // Back from the next page, the form is as it was before.
  window.addEventListener("pageshow", function (event) {
    if (!event.persisted) return;
    busy = field.disabled = false;
    bar.hidden = true;
    [].forEach.call(box.querySelectorAll("input"), function (hidden) {
      box.removeChild(hidden);
    });
  });
})();
