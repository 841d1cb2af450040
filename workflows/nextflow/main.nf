// Every slide of a folder is a task; the last one sums them up. See ../README.md.

// As 'napari-sprout slide' calls the results of a slide.
def resultName(slide) {
    return slide.name.replaceFirst(/\.[^.]+$/, '').replaceFirst(/\.ome$/, '')
}

// A word of the shell, whatever is in it.
def quoted(text) {
    return "'" + text.toString().replace("'", "'\\''") + "'"
}

def findSlides() {
    def slides = files("${params.slides}/*.{${params.endings}}", type: 'any')
    if (!slides) {
        error("'${params.slides}' holds no slides; give their folder with --slides.")
    }
    def alike = slides.groupBy { slide -> resultName(slide) }.values().find { group -> group.size() > 1 }
    if (alike) {
        error("${alike.join(' and ')} would share one folder of results; rename one.")
    }
    return slides
}

process SLIDE {
    tag "${name}"
    cpus { params.workers }
    memory { (params.memory as MemoryUnit) * params.workers * task.attempt }
    // 2 is a wrong option, which no attempt mends. Others cost little: what is finished is kept.
    errorStrategy { task.exitStatus == 2 || task.attempt > params.retries ? 'ignore' : 'retry' }

    input:
    // Results are written straight to their place, not into the task's folder: there the
    // next attempt finds what this one has finished.
    tuple val(name), val(slide), val(results)

    output:
    val name

    script:
    // 3 is finished, but with tiles left out. More memory may help; after the last attempt the
    // report says which are missing.
    """
    code=0
    napari-sprout slide ${quoted(slide)} -o ${quoted(results)} --workers ${task.cpus} \\
        ${params.options} || code=\$?
    if [ \$code -eq 3 ] && [ ${task.attempt} -gt ${params.retries} ]; then code=0; fi
    exit \$code
    """
}

process COHORT {
    executor 'local'

    input:
    val finished
    path expected
    val results

    output:
    stdout

    script:
    // 3 is a report that says what is missing.
    """
    napari-sprout cohort ${quoted(results)} --expected ${expected} || [ \$? -eq 3 ]
    """
}

workflow {
    def results = file(params.results).toAbsolutePath()
    results.mkdirs()
    def slides = findSlides()
    def jobs = slides.collect { slide -> [resultName(slide), slide.toAbsolutePath(), results] }
    SLIDE(channel.fromList(jobs))
    def expected = channel.fromList(slides)
        .collectFile(name: 'slides.txt', newLine: true) { slide -> slide.name }
    COHORT(SLIDE.out.collect().ifEmpty([]), expected, results)
    COHORT.out.view()
}
