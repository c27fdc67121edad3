// apt's own parser over a package index, plain or compressed: the yardstick of `make bench`.
// Looks up the same fields as agent/examples/measure_reading.rs. With `hash` as second word it takes
// the file's SHA-256 first, as apt does with what it has fetched. Prints bytes, stanzas and seconds of
// CPU time.

#include <apt-pkg/configuration.h>
#include <apt-pkg/fileutl.h>
#include <apt-pkg/hashes.h>
#include <apt-pkg/init.h>
#include <apt-pkg/pkgsystem.h>
#include <apt-pkg/tagfile.h>
#include <cstdio>
#include <ctime>

int main(int count, char **words)
{
   if (count < 2 || not pkgInitConfig(*_config) || not pkgInitSystem(*_config, _system))
      return 2;
   APT::StringView const names[] = {"Package", "Version", "Architecture", "Filename",
				    "Size",    "SHA256",  "Description"};
   std::clock_t const began = std::clock();
   if (count > 2)
   {
      FileFd packed(words[1], FileFd::ReadOnly);
      Hashes hashes(Hashes::SHA256SUM);
      if (not hashes.AddFD(packed))
	 return 1;
   }
   FileFd file(words[1], FileFd::ReadOnly, FileFd::Extension);
   pkgTagFile tags(&file);
   pkgTagSection section;
   unsigned long bytes = 0, stanzas = 0;
   while (tags.Step(section))
   {
      ++stanzas;
      for (auto const name : names)
      {
	 char const *start, *end;
	 if (section.Find(name, start, end))
	    bytes += end - start;
      }
   }
   std::printf("%lu %lu %.6f\n", bytes, stanzas, double(std::clock() - began) / CLOCKS_PER_SEC);
   return stanzas == 0;
}
